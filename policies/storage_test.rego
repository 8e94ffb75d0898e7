package jupyterserver.admission_test

small := set("storage-bounds", {"maxSize": "10Gi", "classes": ["fast"]})

test_storage_bounds[note] if {
	some note, case in {
		"class of the cluster": {"changes": [], "want": {"spec.storage.storageClassName"}},
		"within": {"changes": [add("/objects/2/spec/storageClassName", "fast")], "want": set()},
		"too large": {
			"changes": [
				add("/objects/2/spec/storageClassName", "fast"),
				add("/object/spec/storage/size", "11Gi"),
				add("/objects/2/spec/resources/requests/storage", "11Gi"),
			],
			"want": {"spec.storage.size"},
		},
		"patched": {
			"changes": [add("/objects/2/spec", {"storageClassName": "slow", "resources": {"requests": {"storage": "1Ti"}}})],
			"want": {
				"PersistentVolumeClaim/alice: spec.storageClassName",
				"PersistentVolumeClaim/alice: spec.resources.requests.storage",
			},
		},
		"no size": {
			"changes": [add("/objects/2/spec", {"storageClassName": "fast"})],
			"want": {"PersistentVolumeClaim/alice: spec.resources.requests.storage"},
		},
		"template": {
			"changes": [
				add("/objects/2/spec/storageClassName", "fast"),
				add("/objects/0/spec/volumeClaimTemplates", [{
					"metadata": {"name": "data"},
					"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Ti"}}},
				}]),
			],
			"want": {"StatefulSet/alice: spec.volumeClaimTemplates[0].spec.resources.requests.storage"},
		},
		"volumes": {
			"changes": [
				add("/objects/2/spec/storageClassName", "fast"),
				add(sprintf("%s/volumes", [pod_path]), [
					{"name": "files", "emptyDir": {"sizeLimit": "11Gi"}},
					{"name": "data", "emptyDir": {"sizeLimit": "12Gi"}},
					{"name": "free", "emptyDir": {}},
					{"name": "more", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}}},
				]),
			],
			"want": {
				concat("", [where, ".volumes[0].emptyDir.sizeLimit"]),
				concat("", [where, ".volumes[1].emptyDir.sizeLimit"]),
				"spec.storage.storageClassName",
			},
		},
		"files": {
			"changes": [
				add("/objects/2/spec/storageClassName", "fast"),
				add("/object/spec/storage/size", "11Gi"),
				add(sprintf("%s/volumes", [pod_path]), [{"name": "files", "emptyDir": {"sizeLimit": "11Gi"}}]),
			],
			"want": {"spec.storage.size"},
		},
	}
	paths("storage-bounds", token_server, array.concat(case.changes, [small])) == case.want
}
