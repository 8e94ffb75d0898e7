package jupyterserver.admission

# METADATA
# title: Only objects of known kinds are rendered
# description: >-
#   One object of each kind that a server needs, in its namespace and with its name. The operator has more permissions than the
#   author of a spec, so spec.patches must not make it create anything else.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Remove changes of the kind, the name or the namespace of an object from spec.patches.
verdicts contains verdict(rego.metadata.rule(), title(obj), message) if {
	settings["rendered-kinds"]
	some obj in unexpected_objects
	not is_known_kind(obj)
	message := sprintf(
		"%s of %s is not an allowed kind; allowed: %s",
		[title(obj), object.get(obj, "apiVersion", "no API"), listed(object.keys(known_kinds))],
	)
}

# METADATA
# title: Objects are in the server's namespace
# description: An object in another namespace could affect other users.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Remove changes of the namespace of an object from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: metadata.namespace", [title(obj)]), message) if {
	settings["rendered-kinds"]
	some obj in unexpected_objects
	found := object.get(obj, ["metadata", "namespace"], "")
	found != input.namespace.name
	message := sprintf("%s is in namespace %q; allowed: %s", [title(obj), found, input.namespace.name])
}

# METADATA
# title: Objects have the server's name
# description: An object with the name of another server would take over that server's object.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Remove changes of the name of an object from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: metadata.name", [title(obj)]), message) if {
	settings["rendered-kinds"]
	some obj in unexpected_objects
	found := object.get(obj, ["metadata", "name"], "")
	not found in object.get(known_names, object.get(obj, "kind", ""), [])
	message := sprintf("the name of %s is not allowed; allowed: %s", [title(obj), listed(object.get(known_names, object.get(obj, "kind", ""), []))])
}

# METADATA
# title: Objects keep their purpose
# description: >-
#   One pod with the server's labels, or none while the server is suspended; a cluster-internal Service that selects it; an Ingress
#   that routes to the Service; a NetworkPolicy for this pod only. Otherwise a patch could exceed all bounds with more pods, take
#   over the traffic of another server, or expose another pod.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Remove changes of this field from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: %s", [title(obj), concat(".", field)]), message) if {
	settings["rendered-kinds"]
	patched
	some obj in input.objects
	some field in fixed_object_fields[obj.kind]
	found := object.get(obj, field, null)
	wanted := object.get(expected_object(obj.kind, obj.metadata.name), field, null)
	found != wanted
	message := sprintf("a patch may not change %s of the %s, which must be %s", [concat(".", field), obj.kind, formatted(wanted)])
}

# METADATA
# title: The Ingress routes to the server
# description: Any other backend would serve another program at the server's address.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Remove changes of the backends of the Ingress from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec", [title(obj)]), message) if {
	settings["rendered-kinds"]
	patched
	some obj in input.objects
	obj.kind == "Ingress"
	some backend in backends(obj.spec)
	not backend in backends(expected_spec("Ingress"))
	message := sprintf("the Ingress routes to %s; allowed is only the server's own Service", [json.marshal(backend)])
}

expected_object(kind, name) := obj if {
	some obj in input.expected
	obj.kind == kind
	obj.metadata.name == name
}

formatted(value) := "unset" if is_null(value)

formatted(value) := json.marshal(value) if not is_null(value)

# The fields that a patch may not change, in any mode.
fixed_object_fields := {
	"StatefulSet": [
		["spec", "replicas"], ["spec", "ordinals"], ["spec", "selector"], ["spec", "serviceName"], ["spec", "updateStrategy"],
		["spec", "podManagementPolicy"], ["spec", "template", "metadata", "labels", "jupyterserver.dev/name"],
		["spec", "template", "metadata", "labels", "app.kubernetes.io/name"],
		["spec", "template", "metadata", "labels", "app.kubernetes.io/instance"],
		["spec", "template", "spec", "resources"], ["spec", "template", "spec", "resourceClaims"],
	],
	"Service": [
		["spec", "type"], ["spec", "selector"], ["spec", "externalIPs"], ["spec", "externalName"], ["spec", "loadBalancerIP"],
		["spec", "loadBalancerClass"],
	],
	"NetworkPolicy": [["spec", "podSelector"], ["spec", "policyTypes"]],
	"ConfigMap": [["immutable"]],
	"PersistentVolumeClaim": [
		["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"], ["spec", "dataSource"], ["spec", "dataSourceRef"],
		["spec", "volumeName"], ["spec", "selector"],
	],
}

# METADATA
# title: Names are valid
# description: The pods of a StatefulSet with a longer name never start, and a Service has the same name.
# custom:
#   id: names
#   severity: deny
#   remediation: Choose another name. It cannot be changed later.
verdicts contains verdict(rego.metadata.rule(), "metadata.name", message) if {
	settings.names
	found := server.metadata.name
	not regex.match(`^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$`, found)
	message := sprintf("name %q must start with a letter and have at most 52 lower-case letters, digits and hyphens", [found])
}

# METADATA
# title: Names match the pattern
# description: The setting pattern is a regular expression for the whole name. An empty pattern allows any name.
# custom:
#   id: names
#   severity: deny
#   remediation: Choose a name that matches the pattern. It cannot be changed later.
verdicts contains verdict(rego.metadata.rule(), "metadata.name", message) if {
	pattern := settings.names.pattern
	pattern != ""
	found := server.metadata.name
	not regex.match(sprintf("^(?:%s)$", [pattern]), found)
	message := sprintf("name %q does not match the pattern %s", [found, pattern])
}

# The objects to check: none for the many servers whose objects are all plain, which one comparison shows.
default unexpected_objects := []

unexpected_objects := input.objects if {
	found := [1 |
		some obj in input.objects
		[obj.kind, obj.apiVersion, obj.metadata.namespace, obj.metadata.name] in plain_objects
	]
	count(found) != count(input.objects)
}

# A test keeps it equal to known_kinds and known_names, which are for messages.
plain_objects := {
	["ConfigMap", "v1", namespace, concat("-", [name, "access"])],
	["ConfigMap", "v1", namespace, concat("-", [name, "access-rules"])],
	["Ingress", "networking.k8s.io/v1", namespace, name],
	["NetworkPolicy", "networking.k8s.io/v1", namespace, name],
	["PersistentVolumeClaim", "v1", namespace, name],
	["Service", "v1", namespace, name],
	["StatefulSet", "apps/v1", namespace, name],
} if {
	namespace := input.namespace.name
	name := server.metadata.name
}

is_known_kind(obj) if known_kinds[obj.kind] == obj.apiVersion

known_kinds := {
	"ConfigMap": "v1",
	"Ingress": "networking.k8s.io/v1",
	"NetworkPolicy": "networking.k8s.io/v1",
	"PersistentVolumeClaim": "v1",
	"Service": "v1",
	"StatefulSet": "apps/v1",
}

known_names := object.union(
	{kind: [server.metadata.name] | some kind, _ in known_kinds},
	{"ConfigMap": [sprintf("%s-access", [server.metadata.name]), sprintf("%s-access-rules", [server.metadata.name])]},
)
