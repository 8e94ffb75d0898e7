# The rules that protect the access control from additions in a spec and from patches. All have the id oidc-intact, which cannot be
# disabled. Each begins with the comparison of the mode, because OPA's rule index skips rules that begin with a comparison of the
# input with another string. The rules compare with input.expected, which is the same server without its patches. A server without
# patches needs no input.expected.
package jupyterserver.admission

# METADATA
# title: The set of objects is unchanged
# description: A second Service or Ingress could bypass the proxy, and a missing NetworkPolicy exposes the pod.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove patches that add, remove or rename objects from spec.patches.
verdicts contains verdict(rego.metadata.rule(), "spec.patches", message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	found := [title(obj) | some obj in input.objects]
	wanted := [title(obj) | some obj in input.expected]
	sort(found) != sort(wanted)
	message := sprintf("the rendered objects are %s; mode oidc requires: %s", [listed(found), listed(wanted)])
}

# METADATA
# title: The Service targets the proxy
# description: It has one port, which targets the proxy of the server's own pod.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove changes of the ports and the selector of the Service from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.%s", [title(obj), field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some obj in input.objects
	obj.kind == "Service"
	some field in differing_fields(service_targets(obj.spec), service_targets(expected_spec("Service")))
	message := sprintf("a patch changes %s of the Service, which must target only the proxy", [field])
}

# METADATA
# title: The Ingress routes to the Service
# description: Any other backend would serve another program at the server's address.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove changes of the backends of the Ingress from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec", [title(obj)]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some obj in input.objects
	obj.kind == "Ingress"
	some backend in backends(obj.spec)
	not backend in backends(expected_spec("Ingress"))
	message := sprintf("the Ingress routes to %s; allowed is only the server's own Service", [json.marshal(backend)])
}

# METADATA
# title: The NetworkPolicy is unchanged
# description: The administrator configures which peers reach the proxy.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove changes of the NetworkPolicy from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec", [title(obj)]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some obj in input.objects
	obj.kind == "NetworkPolicy"
	obj.spec != expected_spec("NetworkPolicy")
	message := "a patch changes the NetworkPolicy, which must be as the administrator configured it"
}

# METADATA
# title: The configuration of the access control is unchanged
# description: The proxy, the plugin and the authorization service read it from ConfigMaps.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove changes of the ConfigMap from spec.patches.
verdicts contains verdict(rego.metadata.rule(), title(obj), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some wanted in expected_objects
	wanted.kind == "ConfigMap"
	some obj in input.objects
	obj.kind == "ConfigMap"
	obj.metadata.name == wanted.metadata.name
	obj != wanted
	config_map_data(obj) != config_map_data(wanted)
	message := sprintf("a patch changes the data of ConfigMap %s, which configures the access control", [wanted.metadata.name])
}

# METADATA
# title: The containers of the access control come first and exist once
# description: A container that starts before them could occupy their ports.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove patches that add, remove or move containers whose names begin with access- from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.initContainers", [pod.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some pod in pods
	wanted := [container.name | some container in expected_pod.initContainers; startswith(container.name, "access-")]
	found := [object.get(container, "name", "") | some container in pod.spec.initContainers]
	first := array.slice(found, 0, count(wanted))
	ours := [name | some name in found; startswith(name, "access-")]
	[sort(first), sort(ours)] != [sort(wanted), sort(wanted)]
	message := sprintf("the init containers begin with %s; required: %s", [joined(first), joined(wanted)])
}

# METADATA
# title: No other container has a reserved name
# description: Two containers with the same name cannot be distinguished.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Choose another name for the container.
verdicts contains verdict(rego.metadata.rule(), container.path, message) if {
	input.object.spec.auth.mode == "oidc"
	some container in other_containers
	startswith(container.name, "access-")
	message := sprintf("container %s has a name that is reserved for the access control", [container.name])
}

# METADATA
# title: The containers of the access control are unchanged
# description: Only resources and the timing of probes may be changed.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove changes of the container, except for its resources, from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [container.path, field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some container in access_containers
	container.spec != container.expected
	some field in differing_fields(fixed_container_fields(container.spec), fixed_container_fields(container.expected))
	message := sprintf("a patch changes %s of container %s, which is part of the access control", [field, container.name])
}

# METADATA
# title: The volumes of the access control are unchanged
# description: They contain its configuration and its secrets.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove changes of volumes whose names begin with access- from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.volumes", [pod.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some pod in pods
	object.get(pod.spec, "volumes", []) != object.get(expected_pod, "volumes", [])
	wanted := access_volumes(expected_pod)
	found := access_volumes(pod.spec)
	found != wanted
	message := sprintf("the volumes %s differ from those of the access control: %s", [names_of(found), names_of(wanted)])
}

# METADATA
# title: No claim replaces a volume of the access control
# description: A StatefulSet replaces volumes with its claims of the same name.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Choose another name for the claim.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.volumeClaimTemplates", [title(obj)]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some obj in input.objects
	some template in obj.spec.volumeClaimTemplates
	startswith(template.metadata.name, "access-")
	message := sprintf("claim %s has a name that is reserved for volumes of the access control", [template.metadata.name])
}

# METADATA
# title: Patches do not change the pod's isolation
# description: The node's network, processes of other pods, or another address of the provider would bypass the access control.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove the field from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [pod.path, field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some pod in pods
	object.filter(pod.spec, fixed_pod_fields) != object.filter(expected_pod, fixed_pod_fields)
	some field in fixed_pod_fields
	object.get(pod.spec, field, null) != object.get(expected_pod, field, null)
	message := sprintf("a patch changes %s, which is not allowed with mode oidc", [field])
}

# METADATA
# title: There is one Jupyter container
# description: The proxy forwards to it.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove patches that add, remove or rename the container jupyter from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.containers", [pod.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	some pod in pods
	found := count([container | some container in pod.spec.containers; container.name == "jupyter"])
	found != 1
	message := sprintf("found %d containers named jupyter, want exactly 1", [found])
}

# METADATA
# title: Patches do not change how Jupyter starts
# description: It listens only on loopback. The spec can add arguments, which another rule checks.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Use spec.jupyterServer.extraArgs instead of a patch.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [container.path, field]), message) if {
	input.object.spec.auth.mode == "oidc"
	patched
	some container in jupyter_containers
	some expected in expected_pod.containers
	expected.name == "jupyter"
	container.spec != expected
	some field in ["command", "args", "ports"]
	object.get(container.spec, field, null) != object.get(expected, field, null)
	message := sprintf("a patch changes the %s of container jupyter, which is not allowed with mode oidc", [field])
}

# METADATA
# title: Jupyter listens only on loopback and requires no token
# description: The proxy in front of it checks access, so there must be no other way to reach it.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove the argument from spec.jupyterServer.extraArgs or spec.patches.
verdicts contains verdict(rego.metadata.rule(), written(container, "args"), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in jupyter_containers
	found := regex.find_n(
		`(?m)^\s*--?(?:[A-Za-z_]\w*[.])*(?:i|ip|token|password|sock|port|config|config_file|identity_provider_class|allow_unauthenticated_access)(?:=.*|\s.*)?$`,
		replace(concat("\n", object.get(container.spec, "args", [])), "__DOT__", "."),
		-1,
	)
	found != ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=8888", "--IdentityProvider.token="]
	message := sprintf(
		"container jupyter has the arguments %s; required: --ServerApp.ip=127.0.0.1, --ServerApp.port=8888 and an empty --IdentityProvider.token, each once",
		[joined(found)],
	)
}

# METADATA
# title: Jupyter is configured only by arguments
# description: Some variables change its settings or their location.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove the variable from spec.jupyterServer.env or spec.patches.
verdicts contains verdict(rego.metadata.rule(), written(container, "env"), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in jupyter_containers
	some variable in container.spec.env
	regex.match(`^(JUPYTER_(TOKEN|TOKEN_FILE|IP|PORT|SERVER_URL|CONFIG_.*|NO_CONFIG|PREFER_ENV_PATH|PATH)|JUPYTERHUB.*)$`, variable.name)
	message := sprintf("container jupyter has the variable %s, which can bypass the access control", [variable.name])
}

# METADATA
# title: No other container mounts volumes of the access control
# description: They contain its secrets.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove the mount from the container.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.volumeMounts", [container.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in other_containers
	some list in ["volumeMounts", "volumeDevices"]
	some mount in container.spec[list]
	startswith(mount.name, "access-")
	message := sprintf("container %s mounts volume %s of the access control", [container.name, mount.name])
}

# METADATA
# title: No other volume contains secrets of the access control
# description: Anyone with the key of the cookies can sign in as any user.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove the volume, or use another Secret.
verdicts contains verdict(rego.metadata.rule(), volume.path, message) if {
	input.object.spec.auth.mode == "oidc"
	some volume in volumes
	not startswith(volume.name, "access-")
	some name in secrets_of_volume(volume.spec)
	name in access_secrets
	message := sprintf("volume %s contains Secret %s of the access control", [volume.name, name])
}

# METADATA
# title: No other container has variables from secrets of the access control
# description: Anyone with the key of the cookies can sign in as any user.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Remove the variable, or use another Secret.
verdicts contains verdict(rego.metadata.rule(), container.path, message) if {
	input.object.spec.auth.mode == "oidc"
	some container in other_containers
	some name in secrets_of_variables(container.spec)
	name in access_secrets
	message := sprintf("container %s has variables from Secret %s of the access control", [container.name, name])
}

# METADATA
# title: No other container has a port of the access control
# description: A Service resolves a named port to the first container that has it.
# custom:
#   id: oidc-intact
#   severity: deny
#   remediation: Use another port number and name.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.ports", [container.path]), message) if {
	input.object.spec.auth.mode == "oidc"
	some container in other_containers
	some port in container.spec.ports
	is_access_port(port)
	message := sprintf(
		"container %s has port %v (%s); reserved for the access control: %s, and names that begin with access-",
		[container.name, port.containerPort, object.get(port, "name", "unnamed"), listed(access_ports)],
	)
}

# The rendered objects differ from those without patches.
patched if {
	input.objects != input.expected
}

fixed_pod_fields := {
	"hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace", "hostAliases", "dnsPolicy", "dnsConfig",
	"hostname", "setHostnameAsFQDN", "ephemeralContainers",
}

# A server without patches is as expected, so it is not compared with itself.
expected_objects := input.expected

expected_objects := input.objects if {
	not input.expected
	count(object.get(server.spec, "patches", [])) == 0
}

expected_pod := obj.spec.template.spec if {
	some obj in expected_objects
	obj.kind == "StatefulSet"
	obj.metadata.name == server.metadata.name
}

expected_spec(kind) := obj.spec if {
	some obj in expected_objects
	obj.kind == kind
}

# The fields of a Service that determine its targets.
service_targets(spec) := {
	"ports": [{"port": object.get(port, "targetPort", null), "protocol": object.get(port, "protocol", "TCP")} | some port in spec.ports],
	"selector": object.get(spec, "selector", {}),
	"externalName": object.get(spec, "externalName", ""),
}

backends(spec) := {entry.backend |
	some rule in spec.rules
	some entry in rule.http.paths
} | {backend | backend := spec.defaultBackend}

config_map_data(config_map) := {"data": object.get(config_map, "data", {}), "binaryData": object.get(config_map, "binaryData", {})}

# The containers of the access control, with their expected specs.
access_containers := [{"path": container.path, "name": container.name, "spec": container.spec, "expected": expected} |
	some container in containers
	container.list == "initContainers"
	some expected in expected_pod.initContainers
	expected.name == container.name
	startswith(expected.name, "access-")
]

access_container_ids := {["initContainers", container.name] | some container in expected_pod.initContainers; startswith(container.name, "access-")}

# Containers that do not belong to the access control, whatever their names.
other_containers := [container |
	some container in containers
	not [container.list, container.name] in access_container_ids
]

jupyter_containers := [container |
	some container in containers
	container.name == "jupyter"
	container.list == "containers"
]

# The part of a container that may not be changed.
fixed_container_fields(container) := object.union(
	object.remove(container, array.concat(probes, ["resources", "imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy"])),
	{probe: object.remove(handler, [
		"initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold",
		"terminationGracePeriodSeconds",
	]) |
		some probe in probes
		handler := container[probe]
	},
)

probes := ["livenessProbe", "readinessProbe", "startupProbe"]

differing_fields(found, wanted) := {field |
	found != wanted
	some field in (object.keys(found) | object.keys(wanted))
	object.get(found, field, null) != object.get(wanted, field, null)
}

access_volumes(spec) := {volume | some volume in spec.volumes; startswith(volume.name, "access-")}

names_of(items_) := listed([one.name | some one in items_])

joined(words) := concat(", ", words)

access_secrets contains name if {
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

access_ports := {3000, 3001, 4180, 8000, 8888}

is_access_port(port) if port.containerPort in access_ports

is_access_port(port) if startswith(object.get(port, "name", ""), "access-")
