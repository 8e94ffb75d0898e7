package jupyterserver.admission_test

test_service_account_token[note] if {
	some note, case in {
		"default account": {
			"changes": [add(sprintf("%s/automountServiceAccountToken", [pod_path]), true)],
			"want": {concat("", [where, ".automountServiceAccountToken"])},
		},
		"null is the default, and the default is true": {
			"changes": [add(sprintf("%s/automountServiceAccountToken", [pod_path]), null)],
			"want": {concat("", [where, ".automountServiceAccountToken"])},
		},
		"named": {
			"changes": [
				add("/object/spec/pod", {"serviceAccountName": "other"}),
				add(sprintf("%s/serviceAccountName", [pod_path]), "other"),
				add(sprintf("%s/automountServiceAccountToken", [pod_path]), true),
			],
			"want": {"spec.pod.serviceAccountName"},
		},
		"older field": {
			"changes": [
				add(sprintf("%s/serviceAccount", [pod_path]), "robot"),
				add(sprintf("%s/automountServiceAccountToken", [pod_path]), true),
			],
			"want": set(),
		},
		"projected": {
			"changes": [add(sprintf("%s/volumes/-", [pod_path]), {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})],
			"want": {concat("", [where, ".volumes"])},
		},
	}
	paths("service-account-token", token_server, array.concat(case.changes, [set("service-account-token", {"allowed": ["robot"]})])) == case.want
}
