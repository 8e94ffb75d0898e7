# METADATA
# title: What a Jupyter server may be
# description: >-
#   Judges a JupyterServer and the objects that it renders to. Every rule adds to the set verdicts, and is configured by
#   input.config.rules[id] over the defaults below. A verdict counts only when complete is true.
package jupyterserver.admission

# METADATA
# title: The defaults of every rule
# description: An empty list, text or number sets no bound. The Go function Default says the same; a test holds them equal.
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
# title: The settings of the rules that are on
# description: >-
#   The admin's settings over the defaults. Nothing in them switches off what holds the access control together. The evaluator
#   asks for them once, and gives them back as input.settled: they are the same for all servers.
settings := input.settled

settings := settled if not input.settled

settled[id] := merged if {
	some id, fallback in defaults
	not id in unswitchable
	merged := object.union(fallback, object.get(input.config.rules, id, {}))
	merged.severity in {"deny", "warn", "audit"}
}

settled[id] := defaults[id] if some id in unswitchable

unswitchable := {"oidc-intact"}

# METADATA
# title: The sentinel
# description: >-
#   Without it there is no answer: the input lacks a part that the rules look at, or the settings cannot be read, and rules
#   that find nothing would mean nothing.
complete if {
	input.operation in {"CREATE", "UPDATE"}
	is_string(input.namespace.name)
	is_string(server.metadata.name)
	server.metadata.namespace == input.namespace.name
	is_string(server.spec.auth.mode)
	is_array(input.routes)
	are_settled
	count(pods) > 0
	comparable
}

# Jupyter's own objects must be there to compare with. Only oidc is compared.
comparable if server.spec.auth.mode != "oidc"

comparable if count(expected_pod.initContainers) > 0

are_settled if input.settled

are_settled if readable_settings

# What a rule reads must be there, and of the right type: a list where a list is, and so on.
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
# title: One verdict
# description: The severity is the configured one. The remediation is that of the rule's annotations.
verdict(annotations, path, message) := {
	"id": annotations.custom.id,
	"severity": settings[annotations.custom.id].severity,
	"message": message,
	"path": path,
	"remediation": annotations.custom.remediation,
}

# METADATA
# title: One verdict about a measure
# description: The excess is how far the bound is passed, so that a server that comes closer to it can be told.
measured(annotations, path, message, excess) := object.union(verdict(annotations, path, message), {"excess": excess})

server := input.object

# METADATA
# title: The pods that are rendered
# description: One for every object with a pod template, or that is a pod. The path says where it stands.
pods := array.concat(
	[{"path": sprintf("%s: spec.template.spec", [title(object_)]), "spec": object_.spec.template.spec} |
		some object_ in input.objects
		object_.spec.template.spec
	],
	[{"path": sprintf("%s: spec", [title(object_)]), "spec": object_.spec} |
		some object_ in input.objects
		object_.kind == "Pod"
	],
)

# METADATA
# title: The containers that are rendered
# description: Of all pods and all three lists, with where each stands.
containers := [{"path": sprintf("%s.%s[%d]", [pod.path, list, i]), "spec": container, "name": name, "list": list, "pod": pod.spec, "ours": name in access_names} |
	some pod in pods
	some list in ["initContainers", "containers", "ephemeralContainers"]
	some i, container in pod.spec[list]
	name := object.get(container, "name", "without a name")
]

# Those of the access control, whose images and resources are the admin's. oidc-intact says that they are what they seem.
access_names contains name if {
	server.spec.auth.mode == "oidc"
	some list in ["initContainers", "containers", "ephemeralContainers"]
	name := pods[_].spec[list][_].name
	startswith(name, "access-")
}

# METADATA
# title: The volumes that are rendered
# description: Of all pods, with where each stands.
volumes := [{"path": sprintf("%s.volumes[%d]", [pod.path, i]), "name": object.get(volume, "name", "without a name"), "spec": volume} |
	some pod in pods
	some i, volume in pod.spec.volumes
]

title(object_) := sprintf("%s/%s", [object.get(object_, "kind", "?"), object.get(object_, ["metadata", "name"], "?")])

# METADATA
# title: A list for people
# description: Sorted, whatever the order in the settings is.
listed(items) := concat(", ", sort([quoted | some item in items; quoted := sprintf("%v", [item])])) if count(items) > 0

listed(items) := "none" if count(items) == 0

# METADATA
# title: Where a container's field was written
# description: The field of the spec that it comes from, where its value is still that; else where it is rendered.
written(container, field) := sprintf("spec.jupyterServer.%s", [field]) if {
	container.name == "jupyter"
	object.get(container.spec, field, null) == object.get(server.spec.jupyterServer, field, null)
} else := sprintf("spec.pod.%s[%d].%s", [container.list, i, field]) if {
	some i, own in server.spec.pod[container.list]
	own.name == container.name
	object.get(container.spec, field, null) == object.get(own, field, null)
} else := sprintf("%s.%s", [container.path, field])
