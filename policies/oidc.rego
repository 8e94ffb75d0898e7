# What holds the access control together, whatever a spec adds and a patch changes. Every rule has the id oidc-intact, which cannot
# be switched off. Every rule begins with the comparison of the mode itself, for OPA skips rules that begin with a comparison of the input
# with another text without a look at them. What there must be is taken from input.expected: the same server without
# its patches. A server that has none needs no input.expected.
package jupyterserver.admission

# METADATA
# title: No objects beside those of the access control
# description: A second Service or Ingress could lead past the proxy, and a missing policy opens the pod.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what adds, removes or renames objects.
verdicts contains verdict(rego.metadata.rule(), "spec.patches", message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	found := [title(object_) | some object_ in input.objects]
	wanted := [title(object_) | some object_ in input.expected]
	sort(found) != sort(wanted)
	message := sprintf("rendered are the objects %s, but with the mode oidc they must be: %s", [listed(found), listed(wanted)])
}

# METADATA
# title: The Service leads to the proxy
# description: One port, to the proxy's, of the server's own pod.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what changes ports and selector of the Service.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.%s", [title(object_), field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some object_ in input.objects
	object_.kind == "Service"
	some field in differing_fields(service_door(object_.spec), service_door(expected_spec("Service")))
	message := sprintf("the Service has other %s than those that lead to the proxy alone", [field])
}

# METADATA
# title: The Ingress leads to the Service
# description: Any other backend would be another program at the server's address.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what changes the backends of the Ingress.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec", [title(object_)]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some object_ in input.objects
	object_.kind == "Ingress"
	some backend in backends(object_.spec)
	not backend in backends(expected_spec("Ingress"))
	message := sprintf("the Ingress leads to %s, but must lead to the server's own Service alone", [json.marshal(backend)])
}

# METADATA
# title: The network lets in to the proxy
# description: The rules of the NetworkPolicy are the admin's.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what changes the NetworkPolicy.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec", [title(object_)]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some object_ in input.objects
	object_.kind == "NetworkPolicy"
	object_.spec != expected_spec("NetworkPolicy")
	message := "the NetworkPolicy lets in others than the admin's configuration says"
}

# METADATA
# title: The configuration of the access control is unchanged
# description: What proxy, plugin and authorization service read.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what changes the ConfigMap.
verdicts contains verdict(rego.metadata.rule(), title(object_), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some wanted in wanted_objects
	wanted.kind == "ConfigMap"
	some object_ in input.objects
	object_.kind == "ConfigMap"
	object_.metadata.name == wanted.metadata.name
	object_ != wanted
	content(object_) != content(wanted)
	message := sprintf("the ConfigMap %s has another content than the one that the spec and the admin's configuration give", [wanted.metadata.name])
}

# METADATA
# title: The containers of the access control are there, first, and once
# description: A container that starts before them could take their ports.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what removes, adds or moves containers whose names begin with access-.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.initContainers", [pod.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some pod in pods
	wanted := [container.name | some container in expected_pod.initContainers; startswith(container.name, "access-")]
	found := [object.get(container, "name", "") | some container in pod.spec.initContainers]
	first := array.slice(found, 0, count(wanted))
	ours := [name | some name in found; startswith(name, "access-")]
	[sort(first), sort(ours)] != [sort(wanted), sort(wanted)]
	message := sprintf("the pod begins with the containers %s, but must begin with: %s", [in_order(first), in_order(wanted)])
}

# METADATA
# title: No other container has a name of the access control
# description: Two containers of one name cannot be told apart.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Choose another name for the container.
verdicts contains verdict(rego.metadata.rule(), container.path, message) if {
	input.object.spec.auth.mode == "oidc"
	some container in strangers
	startswith(container.name, "access-")
	message := sprintf("the container %s has a name of the access control, which only its own containers may have", [container.name])
}

# METADATA
# title: The containers of the access control are unchanged
# description: Resources, and how often probes ask, may be changed.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what changes the container, but for its resources.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [container.path, field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some container in guards
	container.spec != container.expected
	some field in differing_fields(fixed(container.spec), fixed(container.expected))
	message := sprintf("the container %s has another %s than the access control needs", [container.name, field])
}

# METADATA
# title: The volumes of the access control are unchanged
# description: They hold its configuration and its secrets.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what changes volumes whose names begin with access-.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.volumes", [pod.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some pod in pods
	object.get(pod.spec, "volumes", []) != object.get(expected_pod, "volumes", [])
	wanted := access_volumes(expected_pod)
	found := access_volumes(pod.spec)
	found != wanted
	message := sprintf("the volumes %s are not those of the access control: %s", [names_of(found), names_of(wanted)])
}

# METADATA
# title: No claim takes the place of a volume of the access control
# description: A StatefulSet puts its claims in the place of volumes of the same name.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Choose another name for the claim.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.volumeClaimTemplates", [title(object_)]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some object_ in input.objects
	some template in object_.spec.volumeClaimTemplates
	startswith(template.metadata.name, "access-")
	message := sprintf("the claim %s has a name of the access control's volumes", [template.metadata.name])
}

# METADATA
# title: The pod is what it is without patches
# description: The node's network, another pod's processes, or other names for the provider would lead around the access control.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take the field out of spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [pod.path, field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some pod in pods
	object.filter(pod.spec, fixed_fields) != object.filter(expected_pod, fixed_fields)
	some field in fixed_fields
	object.get(pod.spec, field, null) != object.get(expected_pod, field, null)
	message := sprintf("%s is changed by a patch, which is not allowed with the mode oidc", [field])
}

# METADATA
# title: Jupyter is there once
# description: The proxy leads to it.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take out of spec.patches what removes, adds or renames the container jupyter.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.containers", [pod.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	some pod in pods
	found := count([container | some container in pod.spec.containers; container.name == "jupyter"])
	found != 1
	message := sprintf("there are %d containers called jupyter, but must be 1", [found])
}

# METADATA
# title: Jupyter is started as the operator starts it
# description: On loopback alone. More arguments may be given in the spec, which says which ones.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Use spec.jupyterServer.extraArgs instead of a patch.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [container.path, field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some container in jupyters
	some expected in expected_pod.containers
	expected.name == "jupyter"
	container.spec != expected
	some field in ["command", "args", "ports"]
	object.get(container.spec, field, null) != object.get(expected, field, null)
	message := sprintf("the %s of the container jupyter are changed by a patch, which is not allowed with the mode oidc", [field])
}

# METADATA
# title: Jupyter listens on loopback alone, and asks for no token
# description: Its access is checked before it, so nothing may reach it in another way.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take the argument out of spec.jupyterServer.extraArgs or spec.patches.
verdicts contains verdict(rego.metadata.rule(), written(container, "args"), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in jupyters
	found := regex.find_n(
		`(?m)^\s*--?(?:[A-Za-z_]\w*[.])*(?:i|ip|token|password|sock|port|config|config_file|identity_provider_class|allow_unauthenticated_access)(?:=.*|\s.*)?$`,
		replace(concat("\n", object.get(container.spec, "args", [])), "__DOT__", "."),
		-1,
	)
	found != ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=8888", "--IdentityProvider.token="]
	message := sprintf(
		"the container jupyter has the arguments %s, but must have --ServerApp.ip=127.0.0.1, --ServerApp.port=8888 and an empty --IdentityProvider.token, each once",
		[in_order(found)],
	)
}

# METADATA
# title: Jupyter gets its settings from arguments alone
# description: These variables name other settings, or another place to find them.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take the variable out of spec.jupyterServer.env or spec.patches.
verdicts contains verdict(rego.metadata.rule(), written(container, "env"), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in jupyters
	some variable in container.spec.env
	regex.match(`^(JUPYTER_(TOKEN|TOKEN_FILE|IP|PORT|SERVER_URL|CONFIG_.*|NO_CONFIG|PREFER_ENV_PATH|PATH)|JUPYTERHUB.*)$`, variable.name)
	message := sprintf("the container jupyter has the variable %s, which can change who gets in", [variable.name])
}

# METADATA
# title: No other container has the access control's volumes
# description: They hold its secrets.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take the mount out of the container.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.volumeMounts", [container.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in strangers
	some list in ["volumeMounts", "volumeDevices"]
	some mount in container.spec[list]
	startswith(mount.name, "access-")
	message := sprintf("the container %s mounts the volume %s of the access control", [container.name, mount.name])
}

# METADATA
# title: No other volume holds the access control's secrets
# description: Who has the key of the cookies can sign in as anybody.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take the volume out, or use another Secret.
verdicts contains verdict(rego.metadata.rule(), volume.path, message) if {
	input.object.spec.auth.mode == "oidc"
	some volume in volumes
	not startswith(volume.name, "access-")
	some name in secrets_of_volume(volume.spec)
	name in guarded_secrets
	message := sprintf("the volume %s holds the Secret %s of the access control", [volume.name, name])
}

# METADATA
# title: No other container has the access control's secrets as variables
# description: Who has the key of the cookies can sign in as anybody.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Take the variable out, or use another Secret.
verdicts contains verdict(rego.metadata.rule(), container.path, message) if {
	input.object.spec.auth.mode == "oidc"
	some container in strangers
	some name in secrets_of_variables(container.spec)
	name in guarded_secrets
	message := sprintf("the container %s has variables of the Secret %s of the access control", [container.name, name])
}

# METADATA
# title: No other container has the access control's ports
# description: A Service finds its port by name, in whichever container has it first.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Use another port, with another name.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.ports", [container.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in strangers
	some port in container.spec.ports
	is_guarded_port(port)
	message := sprintf(
		"the container %s has the port %v (%s), but these are the access control's: %s, and names that begin with access-",
		[container.name, port.containerPort, object.get(port, "name", "without a name"), listed(guarded_ports)],
	)
}

# Something differs from what there must be.
patched if {
	input.objects != input.expected
}

fixed_fields := {
	"hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace", "hostAliases", "dnsPolicy", "dnsConfig",
	"hostname", "setHostnameAsFQDN", "ephemeralContainers",
}

# A server without patches is what it must be. To compare it with itself would be a waste of time.
wanted_objects := input.expected

wanted_objects := input.objects if {
	not input.expected
	count(object.get(server.spec, "patches", [])) == 0
}

expected_pod := object_.spec.template.spec if {
	some object_ in wanted_objects
	object_.kind == "StatefulSet"
	object_.metadata.name == server.metadata.name
}

expected_spec(kind) := object_.spec if {
	some object_ in wanted_objects
	object_.kind == kind
}

# What of a Service leads somewhere.
service_door(spec) := {
	"ports": [{"port": object.get(port, "targetPort", null), "protocol": object.get(port, "protocol", "TCP")} | some port in spec.ports],
	"selector": object.get(spec, "selector", {}),
	"externalName": object.get(spec, "externalName", ""),
}

backends(spec) := {entry.backend |
	some rule in spec.rules
	some entry in rule.http.paths
} | {backend | backend := spec.defaultBackend}

content(config_map) := {"data": object.get(config_map, "data", {}), "binaryData": object.get(config_map, "binaryData", {})}

# The access control's own containers, beside what they must be.
guards := [{"path": container.path, "name": container.name, "spec": container.spec, "expected": expected} |
	some container in containers
	container.list == "initContainers"
	some expected in expected_pod.initContainers
	expected.name == container.name
	startswith(expected.name, "access-")
]

guard_ids := {["initContainers", container.name] | some container in expected_pod.initContainers; startswith(container.name, "access-")}

# Containers that are not the access control's, whatever they are called.
strangers := [container |
	some container in containers
	not [container.list, container.name] in guard_ids
]

jupyters := [container |
	some container in containers
	container.name == "jupyter"
	container.list == "containers"
]

# What of a container may not be changed.
fixed(container) := object.union(
	object.remove(container, array.concat(probes, ["resources", "imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy"])),
	{probe: object.remove(asked, [
		"initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold",
		"terminationGracePeriodSeconds",
	]) |
		some probe in probes
		asked := container[probe]
	},
)

probes := ["livenessProbe", "readinessProbe", "startupProbe"]

differing_fields(found, wanted) := {field |
	found != wanted
	some field in (object.keys(found) | object.keys(wanted))
	object.get(found, field, null) != object.get(wanted, field, null)
}

access_volumes(spec) := {volume | some volume in spec.volumes; startswith(volume.name, "access-")}

names_of(named_) := listed([one.name | some one in named_])

in_order(words) := concat(", ", words)

guarded_secrets contains name if {
	some volume in access_volumes(expected_pod)
	some name in secrets_of_volume(volume)
}

secrets_of_volume(volume) := [volume.secret.secretName] if {
	volume.secret.secretName
} else := [source.secret.name | some source in volume.projected.sources; source.secret.name]

secrets_of_variables(container) := {name |
	some variable in container.env
	name := variable.valueFrom.secretKeyRef.name
} | {name |
	some source in container.envFrom
	name := source.secretRef.name
}

guarded_ports := {3000, 3001, 4180, 8000, 8888}

is_guarded_port(port) if port.containerPort in guarded_ports

is_guarded_port(port) if startswith(object.get(port, "name", ""), "access-")
