# The Pod Security Standards of Kubernetes v1.37, applied to the rendered pods. The relaxations for pods with user namespaces are not
# implemented.
package jupyterserver.admission

# METADATA
# title: The pod does not use host namespaces
# description: Level baseline. The pod must not access the network, the processes or the memory of the node.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove the field from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [pod.path, field]), message) if {
	levels.baseline
	some pod in pods
	some field in ["hostNetwork", "hostPID", "hostIPC"]
	pod.spec[field] != false
	message := sprintf("%s is %v; allowed: false", [field, pod.spec[field]])
}

# METADATA
# title: Containers are not privileged
# description: Level baseline. A privileged container is root on the node.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove privileged from the container's securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.privileged", [container.path]), message) if {
	levels.baseline
	some container in nonstandard_containers
	object.get(container.spec, ["securityContext", "privileged"], false) != false
	message := sprintf("container %s is privileged", [container.name])
}

# METADATA
# title: Containers only add baseline capabilities
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove the capabilities from the container's securityContext.capabilities.add.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.capabilities.add", [container.path]), message) if {
	levels.baseline
	some container in nonstandard_containers
	found := {name | some name in container.spec.securityContext.capabilities.add} - baseline_capabilities
	count(found) > 0
	message := sprintf("container %s adds the capabilities %s; allowed: %s", [container.name, listed(found), listed(baseline_capabilities)])
}

# METADATA
# title: Volumes do not use host paths
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Use another type of volume.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.hostPath", [volume.path]), message) if {
	levels.baseline
	some volume in volumes
	volume.spec.hostPath
	message := sprintf("volume %s uses the host path %v", [volume.name, object.get(volume.spec.hostPath, "path", "")])
}

# METADATA
# title: Containers do not use host ports
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove hostPort from the container's ports.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.ports", [container.path]), message) if {
	levels.baseline
	some container in containers
	found := container.spec.ports[_].hostPort
	found != 0
	message := sprintf("container %s uses the host port %v", [container.name, found])
}

# METADATA
# title: Probes and hooks only contact the pod
# description: Level baseline. The kubelet would send requests to any other host.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove host from the container's probes and hooks.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s", [handler.container.path, handler.path]), message) if {
	levels.baseline
	some handler in handlers
	found := handler.spec[["httpGet", "tcpSocket"][_]].host
	found != ""
	message := sprintf("container %s has the host %v in %s", [handler.container.name, found, handler.path])
}

# METADATA
# title: AppArmor is not disabled
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove the profile from appArmorProfile.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.appArmorProfile", [context.path]), message) if {
	levels.baseline
	some context in security_contexts
	found := context.spec.appArmorProfile.type
	not found in {"RuntimeDefault", "Localhost"}
	message := sprintf("%s has the AppArmor profile %v; allowed: Localhost, RuntimeDefault", [context.what, found])
}

# METADATA
# title: AppArmor is not disabled by an annotation
# description: Level baseline. The annotation is the deprecated form of appArmorProfile.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove the annotation from spec.pod.annotations.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.template.metadata.annotations", [title(obj)]), message) if {
	levels.baseline
	some i
	found := input.objects[i].spec.template.metadata.annotations[name]
	startswith(name, "container.apparmor.security.beta.kubernetes.io/")
	obj := input.objects[i]
	not regex.match(`^(runtime/default|localhost/.*)?$`, found)
	message := sprintf("annotation %s is %q; allowed: localhost/PROFILE, runtime/default", [name, found])
}

# METADATA
# title: SELinux options are those of containers
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove the field from seLinuxOptions.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.seLinuxOptions", [context.path]), message) if {
	levels.baseline
	some context in security_contexts
	context.spec.seLinuxOptions
	some field, allowed in selinux_options
	found := object.get(context.spec, ["seLinuxOptions", field], "")
	not found in allowed
	message := sprintf("%s has the SELinux %s %v; allowed: %s", [context.what, field, found, listed(allowed)])
}

# METADATA
# title: /proc is masked
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove procMount from the container's securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.procMount", [container.path]), message) if {
	levels.baseline
	some container in nonstandard_containers
	found := container.spec.securityContext.procMount
	found != "Default"
	message := sprintf("container %s has procMount %v; allowed: Default", [container.name, found])
}

# METADATA
# title: Seccomp is not disabled
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set seccompProfile.type to RuntimeDefault.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.seccompProfile", [context.path]), message) if {
	levels.baseline
	some context in security_contexts
	found := context.spec.seccompProfile.type
	not found in {"RuntimeDefault", "Localhost"}
	message := sprintf("%s has the seccomp profile %v; allowed: Localhost, RuntimeDefault", [context.what, found])
}

# METADATA
# title: Only safe sysctls are set
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove it from spec.pod.securityContext.sysctls.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.sysctls", [pod.path]), message) if {
	levels.baseline
	some pod in pods
	some sysctl in pod.spec.securityContext.sysctls
	not sysctl.name in safe_sysctls
	message := sprintf("sysctl %s is set; allowed: %s", [sysctl.name, listed(safe_sysctls)])
}

# METADATA
# title: Containers are not Windows HostProcess containers
# description: Level baseline.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove hostProcess from windowsOptions.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.windowsOptions", [context.path]), message) if {
	levels.baseline
	some context in security_contexts
	object.get(context.spec, ["windowsOptions", "hostProcess"], false) != false
	message := sprintf("%s sets windowsOptions.hostProcess", [context.what])
}

# METADATA
# title: Volumes have safe types
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Use another type of volume, such as a PersistentVolumeClaim.
verdicts contains verdict(rego.metadata.rule(), volume.path, message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some volume in volumes
	found := object.keys(volume.spec) - {"name"} # a volume without a type is an emptyDir
	count(found) > 0
	count(found & safe_volumes) == 0
	message := sprintf("volume %s has the type %s; allowed: %s", [volume.name, listed(found), listed(safe_volumes)])
}

# METADATA
# title: Containers do not allow privilege escalation
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set allowPrivilegeEscalation to false in the container's securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.allowPrivilegeEscalation", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in nonstandard_containers
	object.get(container.spec, ["securityContext", "allowPrivilegeEscalation"], true) != false
	message := sprintf("container %s must set allowPrivilegeEscalation: false", [container.name])
}

# METADATA
# title: Containers run as non-root
# description: Level restricted. The container or the pod must set it explicitly.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set runAsNonRoot to true in the container's securityContext or in spec.pod.securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.runAsNonRoot", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in containers
	effective(container, "runAsNonRoot", false) != true
	message := sprintf("container %s must set runAsNonRoot: true", [container.name])
}

# METADATA
# title: Containers do not have the user ID of root
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Use a runAsUser other than 0.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.runAsUser", [context.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some context in security_contexts
	context.spec.runAsUser == 0
	message := sprintf("%s has runAsUser 0 (root)", [context.what])
}

# METADATA
# title: Seccomp is set explicitly
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set seccompProfile.type to RuntimeDefault in the container's securityContext or in spec.pod.securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.seccompProfile", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in containers
	found := object.get(effective(container, "seccompProfile", {}), "type", "none")
	not found in {"RuntimeDefault", "Localhost"}
	message := sprintf("container %s has the seccomp profile %v; required: Localhost or RuntimeDefault", [container.name, found])
}

# METADATA
# title: Containers drop all capabilities
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Set capabilities.drop to [ALL] in the container's securityContext.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.capabilities.drop", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in nonstandard_containers
	not "ALL" in object.get(container.spec, ["securityContext", "capabilities", "drop"], [])
	message := sprintf("container %s does not drop ALL capabilities", [container.name])
}

# METADATA
# title: Containers only add NET_BIND_SERVICE
# description: Level restricted.
# custom:
#   id: pod-security
#   severity: deny
#   remediation: Remove the capabilities from the container's securityContext.capabilities.add.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.securityContext.capabilities.add", [container.path]), message) if {
	input.config.rules["pod-security"].level == "restricted"
	levels.restricted
	some container in nonstandard_containers
	found := ({name | some name in container.spec.securityContext.capabilities.add} & baseline_capabilities) - {"NET_BIND_SERVICE"}
	count(found) > 0
	message := sprintf("container %s adds the capabilities %s; allowed: NET_BIND_SERVICE", [container.name, listed(found)])
}

# The levels in force. Restricted includes baseline.
levels["baseline"] if settings["pod-security"].level in {"baseline", "restricted"}

levels["restricted"] if settings["pod-security"].level == "restricted"

# The containers whose security contexts are not those that the operator renders; the others comply anyway. object.get is needed
# because an undefined reference inside the negation would make more than the negation undefined.
nonstandard_containers := [container | some container in containers; not object.get(container.spec, "securityContext", {}) in standard_security_contexts]

standard_security_contexts := {
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

# The security contexts of pods and containers.
security_contexts := array.concat(
	[{"what": "the pod", "path": pod.path, "spec": pod.spec.securityContext} |
		some pod in pods
		pod.spec.securityContext
	],
	[{"what": sprintf("container %s", [container.name]), "path": container.path, "spec": container.spec.securityContext} |
		some container in nonstandard_containers
		container.spec.securityContext
	],
)

# The field of the container, or else that of its pod.
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

baseline_capabilities := {
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
