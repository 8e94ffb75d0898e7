package jupyterserver.admission_test

import data.jupyterserver.admission

test_rendered_kinds[note] if {
	some note, case in {
		"kind": {
			"object": {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "alice", "namespace": "science"}},
			"want": {"Role/alice", "Role/alice: metadata.name"},
		},
		"nothing": {"object": {}, "want": {"?/?", "?/?: metadata.name", "?/?: metadata.namespace"}},
		"namespace": {
			"object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "alice-access", "namespace": "art"}},
			"want": {"ConfigMap/alice-access: metadata.namespace"},
		},
		"name": {
			"object": {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bob", "namespace": "science"}},
			"want": {"Service/bob: metadata.name"},
		},
		"known": {
			"object": {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alice", "namespace": "science"}},
			"want": set(),
		},
	}
	paths("rendered-kinds", token_server, [add("/objects/-", case.object)]) == case.want
}

test_names[name] if {
	some name, want in {
		"alice": set(),
		"a": {"metadata.name"},
		"Alice": {"metadata.name"},
		"al-ice-": {"metadata.name"},
		"alice-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz": {"metadata.name"},
	}
	paths("names", token_server, [add("/object/metadata/name", name), set("names", {"pattern": "(al|x).*"})]) == want
}

test_plain_objects_are_the_known_ones if {
	wanted := {[kind, api, "science", name] |
		some kind, api in admission.known_kinds
		some name in admission.known_names[kind]
	} with input as token_server
	wanted == admission.plain_objects with input as token_server
}

# Verdicts on a changed object. The expected objects are unchanged.
test_fixed_object_fields[note] if {
	some note, case in {
		"unchanged": {"changes": [], "want": set()},
		"replicas": {"changes": [add("/objects/0/spec/replicas", 50)], "want": {"StatefulSet/alice: spec.replicas"}},
		"label": {
			"changes": [add("/objects/0/spec/template/metadata", {"labels": {"jupyterserver.dev/name": "bob"}})],
			"want": {"StatefulSet/alice: spec.template.metadata.labels.jupyterserver.dev/name"},
		},
		"something else": {"changes": [add("/objects/0/spec/minReadySeconds", 1)], "want": set()},
		"backend": {
			"changes": [add("/objects/1/spec/defaultBackend", {"service": {"name": "bob"}})],
			"want": {"Ingress/alice: spec"},
		},
	}
	changes := array.concat([add("/expected", token_server.objects)], case.changes)
	paths("rendered-kinds", token_server, changes) == case.want
}

test_formatted if {
	admission.formatted(null) == "unset"
	admission.formatted(1) == "1"
}
