package jupyterserver.admission

# METADATA
# title: Pods select nodes by allowed labels
# description: In node selectors and node affinities, and not by nodeName. An empty list allows any label.
# custom:
#   id: node-selectors
#   severity: deny
#   remediation: Select nodes by allowed labels in spec.scheduling.
verdicts contains verdict(rego.metadata.rule(), key.path, message) if {
	allowed := settings["node-selectors"].allowedKeys
	count(allowed) > 0
	some key in node_keys
	not key.name in allowed
	message := sprintf("nodes are selected by %s; allowed labels: %s", [key.name, listed(allowed)])
}

node_keys contains {"name": name, "path": "spec.scheduling.nodeSelector"} if {
	some pod in pods
	some name, _ in pod.spec.nodeSelector
}

node_keys contains {"name": "nodeName", "path": sprintf("%s.nodeName", [pod.path])} if {
	some pod in pods
	pod.spec.nodeName
}

node_keys contains {"name": wanted.key, "path": "spec.scheduling.affinity.nodeAffinity"} if {
	some pod in pods
	some term in pod.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
	some list in ["matchExpressions", "matchFields"]
	some wanted in term[list]
}

node_keys contains {"name": wanted.key, "path": "spec.scheduling.affinity.nodeAffinity"} if {
	some pod in pods
	some term in pod.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution
	some list in ["matchExpressions", "matchFields"]
	some wanted in term.preference[list]
}
