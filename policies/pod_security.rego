# The Pod Security Standards of Kubernetes v1.37, of which this is a check on what is rendered. Where a standard is relaxed for pods
# with user namespaces, it is not here.
package jupyterserver.admission

# METADATA
# title: The pod keeps out of the node's namespaces
# description: Level baseline. Networks, processes and memory of the node are not the pod's.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take out of spec.patches what sets it.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [pod.path, field]), message) if {
	levels.baseline
	some pod in pods
	some field in ["hostNetwork", "hostPID", "hostIPC"]
	pod.spec[field] != false
	message := sprintf("%s is %v, but allowed is false", [field, pod.spec[field]])
}

# METADATA
# title: No container is privileged
# description: Level baseline. A privileged container is root on the node.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take privileged out of the container's securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.privileged", [container.path]), message) if {
	levels.baseline
	some container in unusual
	object.get(container.spec, ["securityContext", "privileged"], false) != false
	message := sprintf("the container %s is privileged, which is not allowed", [container.name])
}

# METADATA
# title: No capabilities are added beside harmless ones
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take the capabilities out of the container's securityContext.capabilities.add.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.capabilities.add", [container.path]), message) if {
	levels.baseline
	some container in unusual
	found := {name | some name in container.spec.securityContext.capabilities.add} - harmless_capabilities
	count(found) > 0
	message := sprintf("the container %s adds the capabilities %s, but allowed are: %s", [container.name, listed(found), listed(harmless_capabilities)])
}

# METADATA
# title: No folders of the node are mounted
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Use another kind of volume.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.hostPath", [volume.path]), message) if {
	levels.baseline
	some volume in volumes
	volume.spec.hostPath
	message := sprintf("the volume %s is the folder %v of the node, which is not allowed", [volume.name, object.get(volume.spec.hostPath, "path", "")])
}

# METADATA
# title: No ports of the node are taken
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take hostPort out of the container's ports.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.ports", [container.path]), message) if {
	levels.baseline
	some container in containers
	found := container.spec.ports[_].hostPort
	found != 0
	message := sprintf("the container %s takes the port %v of the node, which is not allowed", [container.name, found])
}

# METADATA
# title: Probes and hooks ask the pod itself
# description: Level baseline. The kubelet would ask any other host for it.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take host out of the container's probes and hooks.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [handler.container.path, handler.path]), message) if {
	levels.baseline
	some handler in handlers
	found := handler.spec[["httpGet", "tcpSocket"][_]].host
	found != ""
	message := sprintf("the container %s has the host %v in %s, but allowed is none", [handler.container.name, found, handler.path])
}

# METADATA
# title: AppArmor is not switched off
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take the profile out of appArmorProfile.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.appArmorProfile", [context.path]), message) if {
	levels.baseline
	some context in contexts
	found := context.spec.appArmorProfile.type
	not found in {"RuntimeDefault", "Localhost"}
	message := sprintf("%s has the AppArmor profile %v, but allowed are: Localhost, RuntimeDefault", [context.what, found])
}

# METADATA
# title: AppArmor is not switched off by an annotation
# description: Level baseline. It is the older way to write it.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take the annotation out of spec.pod.annotations.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.template.metadata.annotations", [title(object_)]), message) if {
	levels.baseline
	some i
	found := input.objects[i].spec.template.metadata.annotations[name]
	startswith(name, "container.apparmor.security.beta.kubernetes.io/")
	object_ := input.objects[i]
	not regex.match(`^(runtime/default|localhost/.*)?$`, found)
	message := sprintf("the annotation %s is %q, but allowed are: localhost/PROFILE, runtime/default", [name, found])
}

# METADATA
# title: SELinux runs containers as containers
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take it out of seLinuxOptions.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.seLinuxOptions", [context.path]), message) if {
	levels.baseline
	some context in contexts
	context.spec.seLinuxOptions
	some field, allowed in selinux_options
	found := object.get(context.spec, ["seLinuxOptions", field], "")
	not found in allowed
	message := sprintf("%s has the SELinux %s %v, but allowed are: %s", [context.what, field, found, listed(allowed)])
}

# METADATA
# title: /proc is masked
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take procMount out of the container's securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.procMount", [container.path]), message) if {
	levels.baseline
	some container in unusual
	found := container.spec.securityContext.procMount
	found != "Default"
	message := sprintf("the container %s has the procMount %v, but allowed is Default", [container.name, found])
}

# METADATA
# title: System calls are filtered
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set seccompProfile.type to RuntimeDefault.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.seccompProfile", [context.path]), message) if {
	levels.baseline
	some context in contexts
	found := context.spec.seccompProfile.type
	not found in {"RuntimeDefault", "Localhost"}
	message := sprintf("%s has the seccomp profile %v, but allowed are: Localhost, RuntimeDefault", [context.what, found])
}

# METADATA
# title: Only safe sysctls are set
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take it out of spec.pod.securityContext.sysctls.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.sysctls", [pod.path]), message) if {
	levels.baseline
	some pod in pods
	some sysctl in pod.spec.securityContext.sysctls
	not sysctl.name in safe_sysctls
	message := sprintf("the sysctl %s is set, but allowed are: %s", [sysctl.name, listed(safe_sysctls)])
}

# METADATA
# title: No container is a process of a Windows node
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take hostProcess out of windowsOptions.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.windowsOptions", [context.path]), message) if {
	levels.baseline
	some context in contexts
	object.get(context.spec, ["windowsOptions", "hostProcess"], false) != false
	message := sprintf("%s is a process of a Windows node, which is not allowed", [context.what])
}

# METADATA
# title: Volumes are of safe types
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Use another kind of volume, such as a PersistentVolumeClaim.
verdicts contains verdict(rego.metadata.rule(), volume.path, message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some volume in volumes
	found := object.keys(volume.spec) - {"name"} # nothing else is an emptyDir
	count(found) > 0
	count(found & safe_volumes) == 0
	message := sprintf("the volume %s is of the type %s, but allowed are: %s", [volume.name, listed(found), listed(safe_volumes)])
}

# METADATA
# title: No container gets more rights than it has
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set allowPrivilegeEscalation of the container's securityContext to false.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.allowPrivilegeEscalation", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in unusual
	object.get(container.spec, ["securityContext", "allowPrivilegeEscalation"], true) != false
	message := sprintf("the container %s may get more rights than it has, but must have allowPrivilegeEscalation: false", [container.name])
}

# METADATA
# title: No container runs as root
# description: Level restricted. It must be said, for the container or the pod.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set runAsNonRoot to true, in the container's securityContext or in spec.pod.securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.runAsNonRoot", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in containers
	effective(container, "runAsNonRoot", false) != true
	message := sprintf("the container %s may run as root, but must have runAsNonRoot: true", [container.name])
}

# METADATA
# title: No container is given root's number
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Use a runAsUser other than 0.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.runAsUser", [context.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some context in contexts
	context.spec.runAsUser == 0
	message := sprintf("%s has runAsUser 0, which is root and not allowed", [context.what])
}

# METADATA
# title: System calls are filtered, and it is said so
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set seccompProfile.type to RuntimeDefault, in the container's securityContext or in spec.pod.securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.seccompProfile", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in containers
	found := object.get(effective(container, "seccompProfile", {}), "type", "none")
	not found in {"RuntimeDefault", "Localhost"}
	message := sprintf("the container %s has the seccomp profile %v, but must have one of: Localhost, RuntimeDefault", [container.name, found])
}

# METADATA
# title: Capabilities are dropped
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set capabilities.drop of the container's securityContext to [ALL].
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.capabilities.drop", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in unusual
	not "ALL" in object.get(container.spec, ["securityContext", "capabilities", "drop"], [])
	message := sprintf("the container %s does not drop the capabilities ALL, which it must", [container.name])
}

# METADATA
# title: No capabilities are added beside the one for low ports
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Take the capabilities out of the container's securityContext.capabilities.add.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.capabilities.add", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in unusual
	found := ({name | some name in container.spec.securityContext.capabilities.add} & harmless_capabilities) - {"NET_BIND_SERVICE"}
	count(found) > 0
	message := sprintf("the container %s adds the capabilities %s, but allowed is: NET_BIND_SERVICE", [container.name, listed(found)])
}

# The levels that hold. Restricted holds on top of baseline.
levels["baseline"] if settings["pod-security"].level in {"baseline", "restricted"}

levels["restricted"] if settings["pod-security"].level == "restricted"

# The containers whose security contexts are not those that the operator renders: to look at the others is a waste of time.
# A reference that leads nowhere would make more than the negation undefined, so it must not stand inside one.
unusual := [container | some container in containers; not object.get(container.spec, "securityContext", {}) in usual]

usual := {
	{"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
	{
		"allowPrivilegeEscalation": false,
		"capabilities": {"drop": ["ALL"]},
		"privileged": false,
		"readOnlyRootFilesystem": true,
		"runAsGroup": 65532,
		"runAsNonRoot": true,
		"runAsUser": 65532,
		"seccompProfile": {"type": "RuntimeDefault"},
	},
}

# The security contexts to look at: of pods and of containers.
contexts := array.concat(
	[{"what": "the pod", "path": pod.path, "spec": pod.spec.securityContext} |
		some pod in pods
		pod.spec.securityContext
	],
	[{"what": sprintf("the container %s", [container.name]), "path": container.path, "spec": container.spec.securityContext} |
		some container in unusual
		container.spec.securityContext
	],
)

# What a container says itself counts; else what its pod says.
effective(container, field, fallback) := object.get(
	object.get(container.spec, "securityContext", {}),
	field,
	object.get(container.pod, ["securityContext", field], fallback),
)

handlers := array.concat(
	[{"container": container, "path": name, "spec": container.spec[name]} |
		some container in containers
		some name in probes
		container.spec[name]
	],
	[{"container": container, "path": sprintf("lifecycle.%s", [name]), "spec": hook} |
		some container in containers
		some name, hook in container.spec.lifecycle
	],
)

harmless_capabilities := {
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
	"SETPCAP", "SETUID", "SYS_CHROOT",
}

selinux_options := {
	"type": {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"},
	"user": {""},
	"role": {""},
}

safe_sysctls := {
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_notsent_lowat", "net.ipv4.tcp_rmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_wmem",
}

safe_volumes := {
	"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}
