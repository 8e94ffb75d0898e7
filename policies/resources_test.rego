package jupyterserver.admission_test

limits(value) := add(sprintf("%s/resources", [container_path]), {"limits": value})

bounds := set("resources-bounds", {"maxCPU": "4", "maxMemory": "8Gi", "maxGPU": "1"})

test_resources_bounds[note] if {
	some note, case in {
		"within": {"limits": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}, "want": set()},
		"too much": {"limits": {"cpu": "5", "memory": "8Gi"}, "want": {concat("", [where, ".containers[0].resources.limits"])}},
		"no limit": {"limits": {"cpu": "4"}, "want": {concat("", [where, ".containers[0].resources.limits.memory"])}},
		"not a quantity": {"limits": {"cpu": "many", "memory": "1Gi"}, "want": {concat("", [where, ".containers[0].resources.limits"])}},
		"negative": {"limits": {"cpu": "-1", "memory": "1Gi"}, "want": {concat("", [where, ".containers[0].resources.limits"])}},
		"zero": {"limits": {"cpu": "0", "memory": "1Gi"}, "want": {concat("", [where, ".containers[0].resources.limits"])}},
		"no gpu": {"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "0"}, "want": set()},
	}
	paths("resources-bounds", token_server, [limits(case.limits), bounds]) == case.want
}

test_resources_bounds_together[note] if {
	some note, case in {
		"at the same time": {"list": "containers", "more": {}, "want": {"spec.pod.containers"}},
		"sidecar": {"list": "initContainers", "more": {"restartPolicy": "Always"}, "want": {"spec.pod.containers"}},
		"one after another": {"list": "initContainers", "more": {}, "want": set()},
	}
	other := object.union({"name": "other", "image": "x", "resources": {"limits": {"cpu": "3", "memory": "1Gi"}}}, case.more)
	changes := [
		add(sprintf("%s/initContainers", [pod_path]), []),
		add(sprintf("%s/%s/-", [pod_path, case.list]), other),
		limits({"cpu": "3", "memory": "1Gi"}),
		bounds,
	]
	paths("resources-bounds", token_server, changes) == case.want
}

test_resources_required if {
	paths("resources-bounds", token_server, [set("resources-bounds", {"requiredRequests": ["cpu"], "requiredLimits": ["memory"]})]) == {
		"spec.jupyterServer.resources.requests.cpu",
		"spec.jupyterServer.resources.limits.memory",
	}
}
