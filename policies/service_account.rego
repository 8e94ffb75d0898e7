package jupyterserver.admission

# METADATA
# title: Pods have no service account token
# description: >-
#   Anyone with access to a server can use the token with all permissions of its service account. The setting allowed lists exceptions.
# custom:
#   id: service-account-token
#   severity: warn
#   remediation: Remove spec.pod.serviceAccountName, or ask your administrator to allow the service account.
verdicts contains verdict(rego.metadata.rule(), path, message) if {
	allowed := settings["service-account-token"].allowed
	some pod in pods
	path := token_path(pod)
	account := account_of(pod.spec)
	not account in allowed
	message := sprintf("the pod has a token of service account %s; allowed: %s", [account, listed(allowed)])
}

# The field that adds the token.
token_path(pod) := "spec.pod.serviceAccountName" if {
	mounts_token(pod.spec)
	server.spec.pod.serviceAccountName == account_of(pod.spec)
} else := sprintf("%s.automountServiceAccountToken", [pod.path]) if {
	mounts_token(pod.spec)
} else := sprintf("%s.volumes", [pod.path]) if {
	pod.spec.volumes[_].projected.sources[_].serviceAccountToken
}

# It is mounted unless the pod opts out; the setting of the service account is not known here.
mounts_token(spec) if object.get(spec, "automountServiceAccountToken", true) != false

account_of(spec) := spec.serviceAccountName if {
	spec.serviceAccountName != ""
} else := spec.serviceAccount if {
	spec.serviceAccount != ""
} else := "default"
