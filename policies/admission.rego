# METADATA
# title: Admission rules for Jupyter servers
# description: >-
#   Evaluates a JupyterServer and the objects that it renders to. Every rule adds to the set verdicts and is configured by
#   input.config.rules[id] over the defaults below. Verdicts count only if complete is true.
package jupyterserver.admission

# METADATA
# title: Defaults of all rules
# description: An empty list, string or number sets no bound. A test keeps them equal to the Go function Default.
defaults := {
	"auth-any-authenticated": {"severity": "warn"},
	"auth-issuers": {"severity": "deny", "allowed": []},
	"auth-issuers-https": {"severity": "warn"},
	"auth-none": {"severity": "deny", "allow": false},
	"hosts": {"severity": "deny", "allowedSuffixes": []},
	"image-registries": {"severity": "deny", "allowed": []},
	"image-tags": {"severity": "deny", "forbidden": [], "requireDigest": false},
	"ingress-annotations": {
		"severity": "deny",
		"allowed": [
			"cert-manager.io/cluster-issuer",
			"cert-manager.io/issuer",
			"kubernetes.io/ingress.class",
			"kubernetes.io/tls-acme",
			"nginx.ingress.kubernetes.io/force-ssl-redirect",
			"nginx.ingress.kubernetes.io/proxy-body-size",
			"nginx.ingress.kubernetes.io/proxy-buffer-size",
			"nginx.ingress.kubernetes.io/proxy-buffering",
			"nginx.ingress.kubernetes.io/proxy-connect-timeout",
			"nginx.ingress.kubernetes.io/proxy-read-timeout",
			"nginx.ingress.kubernetes.io/proxy-send-timeout",
			"nginx.ingress.kubernetes.io/ssl-redirect",
			"traefik.ingress.kubernetes.io/router.entrypoints",
			"traefik.ingress.kubernetes.io/router.tls",
		],
	},
	"ingress-classes": {"severity": "deny", "allowed": []},
	"inline-secrets": {"severity": "warn"},
	"names": {"severity": "deny", "pattern": ""},
	"node-selectors": {"severity": "deny", "allowedKeys": []},
	"oidc-intact": {"severity": "deny"},
	"oidc-tls": {"severity": "warn"},
	"pod-security": {"severity": "deny", "level": "baseline"},
	"rendered-kinds": {"severity": "deny"},
	"resources-bounds": {
		"severity": "deny",
		"maxCPU": "",
		"maxMemory": "",
		"maxGPU": "",
		"gpus": ["amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe", "nvidia.com/gpu"],
		"requiredRequests": [],
		"requiredLimits": [],
	},
	"route-overlap": {"severity": "warn"},
	"route-taken": {
		"severity": "deny",
		"ownPaths": [
			"api", "consoles", "custom", "doc", "edit", "files", "kernelspecs", "lab", "login", "logout", "lsp", "metrics",
			"nbconvert", "notebooks", "oauth2", "proxy", "static", "terminals", "tree", "view",
		],
	},
	"service-account-token": {"severity": "warn", "allowed": []},
	"storage-bounds": {"severity": "deny", "maxSize": "", "classes": []},
	"tls-required": {"severity": "off"},
	"token-length": {"severity": "deny", "minimum": 16},
}

# METADATA
# title: Settings of the enabled rules
# description: >-
#   The administrator's settings over the defaults. They cannot disable the rules that protect the access control. The evaluator
#   computes them once and passes them as input.settled, because they are the same for all servers.
settings := input.settled

settings := settled if not input.settled

settled[id] := merged if {
	some id, fallback in defaults
	not id in always_on
	merged := object.union(fallback, object.get(input.config.rules, id, {}))
	merged.severity in {"deny", "warn", "audit"}
}

settled[id] := defaults[id] if some id in always_on

always_on := {"oidc-intact"}

# METADATA
# title: Sentinel of a complete result
# description: >-
#   Undefined if the input lacks a part that the rules read or if the settings are invalid. Then the absence of verdicts means
#   nothing.
complete if {
	input.operation in {"CREATE", "UPDATE"}
	is_string(input.namespace.name)
	is_string(server.metadata.name)
	server.metadata.namespace == input.namespace.name
	is_string(server.spec.auth.mode)
	is_array(input.routes)
	settings_valid
	count(pods) > 0
	has_expected_pod
}

# Mode oidc compares with the objects without patches, so they must be there.
has_expected_pod if server.spec.auth.mode != "oidc"

has_expected_pod if count(expected_pod.initContainers) > 0

settings_valid if input.settled

settings_valid if readable_settings

# Every setting must be known and have the type of its default.
readable_settings if {
	is_object(input.config.rules)
	every id, fallback in defaults {
		every name, value in fallback {
			type_name(object.get(input.config.rules, [id, name], value)) == type_name(value)
		}
	}
	every id, rule in input.config.rules {
		object.get(rule, "severity", "deny") in {"deny", "warn", "audit", "off"}
		defaults[id]
	}
}

# METADATA
# title: A verdict
# description: The severity comes from the settings, the remediation from the annotations of the rule.
verdict(annotations, path, message) := {
	"id": annotations.custom.id,
	"severity": settings[annotations.custom.id].severity,
	"message": message,
	"path": path,
	"remediation": annotations.custom.remediation,
}

# METADATA
# title: A verdict on a quantity
# description: The excess is how far the quantity exceeds its bound, so that an update that reduces it can be recognized.
measured(annotations, path, message, excess) := object.union(verdict(annotations, path, message), {"excess": excess})

server := input.object

# METADATA
# title: The rendered pods
# description: One for every object that is a pod or has a pod template, with its path.
pods := array.concat(
	[{"path": sprintf("%s: spec.template.spec", [title(obj)]), "spec": obj.spec.template.spec} |
		some obj in input.objects
		obj.spec.template.spec
	],
	[{"path": sprintf("%s: spec", [title(obj)]), "spec": obj.spec} |
		some obj in input.objects
		obj.kind == "Pod"
	],
)

# METADATA
# title: The rendered containers
# description: Of all pods and all three lists of containers, with their paths.
containers := [{"path": sprintf("%s.%s[%d]", [pod.path, list, i]), "spec": container, "name": name, "list": list, "pod": pod.spec, "ours": name in access_names} |
	some pod in pods
	some list in ["initContainers", "containers", "ephemeralContainers"]
	some i, container in pod.spec[list]
	name := object.get(container, "name", "(unnamed)")
]

# The containers of the access control, whose images and resources the administrator sets. oidc-intact checks that they are
# genuine.
access_names contains name if {
	server.spec.auth.mode == "oidc"
	some list in ["initContainers", "containers", "ephemeralContainers"]
	name := pods[_].spec[list][_].name
	startswith(name, "access-")
}

# METADATA
# title: The rendered volumes
# description: Of all pods, with their paths.
volumes := [{"path": sprintf("%s.volumes[%d]", [pod.path, i]), "name": object.get(volume, "name", "(unnamed)"), "spec": volume} |
	some pod in pods
	some i, volume in pod.spec.volumes
]

title(obj) := sprintf("%s/%s", [object.get(obj, "kind", "?"), object.get(obj, ["metadata", "name"], "?")])

# METADATA
# title: A list for messages
# description: Sorted, whatever the order in the settings.
listed(items) := concat(", ", sort([quoted | some item in items; quoted := sprintf("%v", [item])])) if count(items) > 0

listed(items) := "none" if count(items) == 0

# METADATA
# title: The path of a container's field
# description: The field of the spec that set it, if the value is unchanged; otherwise the path in the rendered object.
written(container, field) := sprintf("spec.jupyterServer.%s", [field]) if {
	container.name == "jupyter"
	object.get(container.spec, field, null) == object.get(server.spec.jupyterServer, field, null)
} else := sprintf("spec.pod.%s[%d].%s", [container.list, i, field]) if {
	some i, own in server.spec.pod[container.list]
	own.name == container.name
	object.get(container.spec, field, null) == object.get(own, field, null)
} else := sprintf("%s.%s", [container.path, field])
