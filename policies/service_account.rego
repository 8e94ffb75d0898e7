package jupyterserver.admission

# METADATA
# title: Pods have no token of a service account
# description: >-
#   Whoever is let into a server can use the token, with all rights of its account. Allowed are the named accounts.
# custom:
#   id: service-account-token
#   severity: warn
#   remediation: Take out spec.pod.serviceAccountName, or ask the admin to allow the account.
verdicts contains verdict(rego.metadata.rule(), path, message) if {
	allowed := settings["service-account-token"].allowed
	some pod in pods
	path := token_path(pod)
	account := account_of(pod.spec)
	not account in allowed
	message := sprintf("the pod has a token of the service account %s, but allowed are: %s", [account, listed(allowed)])
}

# Where the token comes from.
token_path(pod) := "spec.pod.serviceAccountName" if {
	mounts_token(pod.spec)
	server.spec.pod.serviceAccountName == account_of(pod.spec)
} else := sprintf("%s.automountServiceAccountToken", [pod.path]) if {
	mounts_token(pod.spec)
} else := sprintf("%s.volumes", [pod.path]) if {
	pod.spec.volumes[_].projected.sources[_].serviceAccountToken
}

# It is mounted unless the pod says no: whether the account says no is not known here.
mounts_token(spec) if object.get(spec, "automountServiceAccountToken", true) != false

account_of(spec) := spec.serviceAccountName if {
	spec.serviceAccountName != ""
} else := spec.serviceAccount if {
	spec.serviceAccount != ""
} else := "default"
