package jupyterserver.admission_test

test_ingress_classes[note] if {
	some note, case in {
		"none": {"changes": [], "want": {"Ingress/alice: spec.ingressClassName"}},
		"allowed": {"changes": [add("/objects/1/spec/ingressClassName", "nginx")], "want": set()},
		"other": {
			"changes": [add("/objects/1/spec/ingressClassName", "other"), add("/object/spec/routing/ingressClassName", "other")],
			"want": {"spec.routing.ingressClassName"},
		},
		"annotation": {
			"changes": [
				add("/objects/1/spec/ingressClassName", "nginx"),
				add("/objects/1/metadata/annotations", {"kubernetes.io/ingress.class": "other"}),
			],
			"want": {"Ingress/alice: spec.ingressClassName"},
		},
	}
	paths("ingress-classes", token_server, array.concat(case.changes, [set("ingress-classes", {"allowed": ["nginx"]})])) == case.want
}

test_hosts[note] if {
	some note, case in {
		"other": {"changes": [], "want": {"spec.routing.host"}},
		"below": {"changes": [add("/objects/1/spec/rules/0/host", "alice.science.example.org")], "want": set()},
		"equal": {"changes": [add("/objects/1/spec/rules/0/host", "science.example.org")], "want": set()},
		"all below": {"changes": [add("/objects/1/spec/rules/0/host", "*.science.example.org")], "want": set()},
		"none": {"changes": [add("/objects/1/spec/rules/0", {})], "want": {"Ingress/alice: spec.rules[0].host", "spec.routing.host"}},
		"certificate": {
			"changes": [
				add("/objects/1/spec/rules/0/host", "science.example.org"),
				add("/objects/1/spec/tls", [{"hosts": ["art.example.org"]}]),
			],
			"want": {"Ingress/alice: spec.tls[0].hosts"},
		},
		"everything": {
			"changes": [add("/objects/1/spec/rules", []), add("/objects/1/spec/defaultBackend", {})],
			"want": {"Ingress/alice: spec.defaultBackend"},
		},
	}
	changes := array.concat(case.changes, [set("hosts", {"allowedSuffixes": ["*.{namespace}.example.org"]})])
	paths("hosts", token_server, changes) == case.want
}

route(name, path) := {"namespace": "science", "name": name, "host": "Jupyter.example.org", "path": path}

test_routes[note] if {
	here := {"spec.routing.path"}
	some note, case in {
		"itself": {"own": "/alice", "routes": [route("alice", "/alice")], "taken": set(), "overlap": set()},
		"sibling": {"own": "/alice", "routes": [route("bob", "/alicex")], "taken": set(), "overlap": set()},
		"equal": {"own": "/alice", "routes": [route("bob", "/alice/")], "taken": here, "overlap": set()},
		"below": {"own": "/alice", "routes": [route("bob", "/alice/bob")], "taken": set(), "overlap": here},
		"above": {"own": "/bob/alice", "routes": [route("bob", "/bob")], "taken": set(), "overlap": here},
		"its sign-in": {"own": "/bob/oauth2/x", "routes": [route("bob", "/bob")], "taken": here, "overlap": set()},
		"own pages": {"own": "/", "routes": [route("bob", "/lab")], "taken": here, "overlap": set()},
		"root": {"own": "/alice", "routes": [route("bob", "")], "taken": set(), "overlap": here},
		"many": {
			"own": "/",
			"routes": [route("a", "/a"), route("b", "/b"), route("c", "/c"), route("d", "/d")],
			"taken": set(),
			"overlap": here,
		},
	}
	changes := [
		add("/routes", case.routes),
		add("/object/spec/routing/path", case.own),
		add("/objects/1/spec/rules/0/http/paths/0/path", case.own),
	]
	paths("route-taken", token_server, changes) == case.taken
	paths("route-overlap", token_server, changes) == case.overlap
}

test_tls[note] if {
	some note, case in {
		"without": {"changes": [], "want": {"spec.routing.tls.enabled"}, "oidc": {"spec.routing.tls.enabled"}},
		"with": {"changes": [add("/objects/1/spec/tls", [{"hosts": ["jupyter.example.org"]}])], "want": set(), "oidc": set()},
		"for another host": {
			"changes": [add("/objects/1/spec/tls", [{"hosts": ["x.example.org"]}])],
			"want": {"spec.routing.tls.enabled"},
			"oidc": {"spec.routing.tls.enabled"},
		},
		"on this machine": {
			"changes": [add("/objects/1/spec/rules/0/host", "jupyter.localhost")],
			"want": {"spec.routing.tls.enabled"},
			"oidc": set(),
		},
	}
	changes := array.concat(case.changes, [set("tls-required", {"severity": "deny"}), add("/object/spec/auth", oidc_auth)])
	paths("tls-required", token_server, changes) == case.want
	paths("oidc-tls", token_server, changes) == case.oidc
}

test_ingress_annotations[note] if {
	some note, case in {
		"allowed": {"annotations": {"cert-manager.io/issuer": "x"}, "written": {}, "want": set()},
		"domain": {"annotations": {"example.org/owner": "x"}, "written": {}, "want": set()},
		"other": {
			"annotations": {"nginx.ingress.kubernetes.io/server-alias": "x"},
			"written": {"nginx.ingress.kubernetes.io/server-alias": "x"},
			"want": {"spec.routing.annotations[nginx.ingress.kubernetes.io/server-alias]"},
		},
		"patched": {"annotations": {"example.orgx/a": "x"}, "written": {}, "want": {"spec.patches"}},
	}
	changes := [
		add("/objects/1/metadata/annotations", case.annotations),
		add("/object/spec/routing/annotations", case.written),
		set("ingress-annotations", {"allowed": ["cert-manager.io/issuer", "example.org/*"]}),
	]
	paths("ingress-annotations", token_server, changes) == case.want
}

test_plain_paths[note] if {
	some note, case in {
		"plain": {"entry": {"path": "/a-b/c.d", "pathType": "Exact"}, "want": set()},
		"root": {"entry": {"path": "/", "pathType": "Prefix"}, "want": set()},
		"pattern": {"entry": {"path": "/(a|b)", "pathType": "Prefix"}, "want": {"Ingress/alice: spec.rules[0].http.paths[0]"}},
		"type": {"entry": {"path": "/a", "pathType": "ImplementationSpecific"}, "want": {"Ingress/alice: spec.rules[0].http.paths[0]"}},
		"nothing": {"entry": {}, "want": {"Ingress/alice: spec.rules[0].http.paths[0]"}},
	}
	paths("ingress-annotations", token_server, [add("/objects/1/spec/rules/0/http/paths/0", case.entry)]) == case.want
}
