package jupyterserver.admission

# METADATA
# title: Only objects of known kinds are rendered
# description: >-
#   One of each that a server needs, with names of the server and in its namespace. So nothing in spec.patches makes the operator,
#   which may do more than the person who wrote the spec, make something else.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Take out of spec.patches what changes the kind, the name or the namespace of an object.
verdicts contains verdict(rego.metadata.rule(), title(object_), message) if {
	settings["rendered-kinds"]
	some object_ in strange
	not is_known(object_)
	message := sprintf(
		"%s of %s is rendered, but allowed are: %s",
		[title(object_), object.get(object_, "apiVersion", "no API"), listed(object.keys(known_kinds))],
	)
}

# METADATA
# title: Objects are rendered into the server's namespace
# description: An object in another namespace would be somebody else's.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Take out of spec.patches what changes the namespace of an object.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: metadata.namespace", [title(object_)]), message) if {
	settings["rendered-kinds"]
	some object_ in strange
	found := object.get(object_, ["metadata", "namespace"], "")
	found != input.namespace.name
	message := sprintf("%s is rendered into the namespace %q, but allowed is %s", [title(object_), found, input.namespace.name])
}

# METADATA
# title: Objects have the server's name
# description: The name of another server would take over what is that server's.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Take out of spec.patches what changes the name of an object.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: metadata.name", [title(object_)]), message) if {
	settings["rendered-kinds"]
	some object_ in strange
	found := object.get(object_, ["metadata", "name"], "")
	not found in object.get(known_names, object.get(object_, "kind", ""), [])
	message := sprintf("%s is rendered, but allowed are these names: %s", [title(object_), listed(object.get(known_names, object.get(object_, "kind", ""), []))])
}

# METADATA
# title: Objects do what the operator makes them for
# description: >-
#   One pod, or none while the server is suspended, with the server's own labels; a Service inside the cluster that leads to it; an
#   Ingress that leads to the Service; a NetworkPolicy about the pod alone. Otherwise a patch could multiply the server past all
#   bounds, take over what is for another one, or open what is not its own.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Take out of spec.patches what changes the field.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: %s", [title(object_), concat(".", field)]), message) if {
	settings["rendered-kinds"]
	patched
	some object_ in input.objects
	some field in fixed_shape[object_.kind]
	found := object.get(object_, field, null)
	wanted := object.get(expected_object(object_.kind, object_.metadata.name), field, null)
	found != wanted
	message := sprintf("%s of the %s is changed, which a patch may not do: it must be %s", [concat(".", field), object_.kind, shown(wanted)])
}

# METADATA
# title: The Ingress leads to the server
# description: Any other backend would be another program at the server's address.
# custom:
#   id: rendered-kinds
#   severity: deny
#   remediation: Take out of spec.patches what changes the backends of the Ingress.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec", [title(object_)]), message) if {
	settings["rendered-kinds"]
	patched
	some object_ in input.objects
	object_.kind == "Ingress"
	some backend in backends(object_.spec)
	not backend in backends(expected_spec("Ingress"))
	message := sprintf("the Ingress leads to %s, but must lead to the server's own Service alone", [json.marshal(backend)])
}

expected_object(kind, name) := object_ if {
	some object_ in input.expected
	object_.kind == kind
	object_.metadata.name == name
}

shown(value) := "left out" if is_null(value)

shown(value) := json.marshal(value) if not is_null(value)

# What a patch may not change, in any mode.
fixed_shape := {
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
# title: Names fit
# description: The pods of a StatefulSet with a longer name never start, and a Service gets the same name.
# custom:
#   id: names
#   severity: deny
#   remediation: Choose another name. It cannot be changed afterwards.
verdicts contains verdict(rego.metadata.rule(), "metadata.name", message) if {
	settings.names
	found := server.metadata.name
	not regex.match(`^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$`, found)
	message := sprintf("the name is %q, but must start with a letter and hold at most 52 lower-case letters, digits and hyphens", [found])
}

# METADATA
# title: Names have the admin's form
# description: The setting pattern is a regular expression for the whole name. Empty, it allows any.
# custom:
#   id: names
#   severity: deny
#   remediation: Choose a name of that form. It cannot be changed afterwards.
verdicts contains verdict(rego.metadata.rule(), "metadata.name", message) if {
	pattern := settings.names.pattern
	pattern != ""
	found := server.metadata.name
	not regex.match(sprintf("^(?:%s)$", [pattern]), found)
	message := sprintf("the name is %q, but must match the regular expression %s", [found, pattern])
}

# The objects to look at. Most servers have only plain ones, and one look at all of them says so.
default strange := []

strange := input.objects if {
	found := [1 |
		some object_ in input.objects
		[object_.kind, object_.apiVersion, object_.metadata.namespace, object_.metadata.name] in plain
	]
	count(found) != count(input.objects)
}

# A test holds it equal to known_kinds and known_names, which are for messages.
plain := {
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

is_known(object_) if known_kinds[object_.kind] == object_.apiVersion

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
