package jupyterserver.admission_test

test_node_selectors[note] if {
	wanted := {"matchExpressions": [{"key": "other"}], "matchFields": [{"key": "metadata.name"}]}
	some note, case in {
		"none": {"field": "nodeSelector", "value": {}, "want": set()},
		"allowed": {"field": "nodeSelector", "value": {"pool": "a"}, "want": set()},
		"other": {"field": "nodeSelector", "value": {"other": "a"}, "want": {"spec.scheduling.nodeSelector"}},
		"name": {"field": "nodeName", "value": "node", "want": {concat("", [where, ".nodeName"])}},
		"required": {
			"field": "affinity",
			"value": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [wanted]}}},
			"want": {"spec.scheduling.affinity.nodeAffinity"},
		},
		"preferred": {
			"field": "affinity",
			"value": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"preference": wanted}]}},
			"want": {"spec.scheduling.affinity.nodeAffinity"},
		},
	}
	changes := [add(sprintf("%s/%s", [pod_path, case.field]), case.value), set("node-selectors", {"allowedKeys": ["pool"]})]
	paths("node-selectors", token_server, changes) == case.want
}
