package jupyterserver.admission_test

# Verdicts on a changed container at level baseline, and the additional ones at level restricted.
test_pod_security_of_containers[note] if {
	some note, case in {
		"privileged": {"change": {"securityContext": {"privileged": true}}, "baseline": {"securityContext.privileged"}},
		"capabilities": {
			"change": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
			"baseline": {"securityContext.capabilities.add"},
		},
		"baseline capabilities": {
			"change": {"securityContext": {"capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"]}}},
			"restricted": {"securityContext.capabilities.add"},
		},
		"allowed capability": {"change": {"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}},
		"port": {"change": {"ports": [{"containerPort": 1, "hostPort": 1}]}, "baseline": {"ports"}},
		"other port": {"change": {"ports": [{"containerPort": 1, "hostPort": 0}, {"containerPort": 2}]}},
		"probe": {"change": {"livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}, "baseline": {"livenessProbe"}},
		"hook": {"change": {"lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1"}}}}, "baseline": {"lifecycle.preStop"}},
		"probe of the pod": {"change": {"livenessProbe": {"httpGet": {"host": ""}}}},
		"AppArmor": {
			"change": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
			"baseline": {"securityContext.appArmorProfile"},
		},
		"SELinux": {
			"change": {"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "root", "role": ""}}},
			"baseline": {"securityContext.seLinuxOptions"},
		},
		"proc": {"change": {"securityContext": {"procMount": "Unmasked"}}, "baseline": {"securityContext.procMount"}},
		"seccomp": {
			"change": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
			"baseline": {"securityContext.seccompProfile"},
		},
		"windows": {
			"change": {"securityContext": {"windowsOptions": {"hostProcess": true}}},
			"baseline": {"securityContext.windowsOptions"},
		},
		"root": {"change": {"securityContext": {"runAsUser": 0}}, "restricted": {"securityContext.runAsUser"}},
		"runAsNonRoot false": {"change": {"securityContext": {"runAsNonRoot": false}}, "restricted": {"securityContext.runAsNonRoot"}},
		"escalation": {
			"change": {"securityContext": {"allowPrivilegeEscalation": true}},
			"restricted": {"securityContext.allowPrivilegeEscalation"},
		},
		"capabilities kept": {
			"change": {"securityContext": {"capabilities": {"drop": []}}},
			"restricted": {"securityContext.capabilities.drop"},
		},
	}
	container := object.union(token_server.objects[0].spec.template.spec.containers[0], case.change)
	baseline := {sprintf("%s.containers[0].%s", [where, path]) | some path in object.get(case, "baseline", [])}
	restricted := {sprintf("%s.containers[0].%s", [where, path]) | some path in object.get(case, "restricted", [])}
	paths("pod-security", token_server, [{"op": "replace", "path": container_path, "value": container}]) == baseline
	paths("pod-security", token_server, [
		{"op": "replace", "path": container_path, "value": container},
		set("pod-security", {"level": "restricted"}),
	]) == baseline | restricted
}

test_pod_security_of_a_bare_container if {
	changes := [
		{"op": "replace", "path": container_path, "value": {"name": "jupyter"}},
		{"op": "remove", "path": sprintf("%s/securityContext", [pod_path])},
		set("pod-security", {"level": "restricted"}),
	]
	paths("pod-security", token_server, changes) == {sprintf("%s.containers[0].securityContext.%s", [where, field]) |
		some field in ["allowPrivilegeEscalation", "capabilities.drop", "runAsNonRoot", "seccompProfile"]
	}
}

test_pod_security_of_pods[note] if {
	some note, case in {
		"network": {"field": "hostNetwork", "value": true, "baseline": {"hostNetwork"}},
		"processes": {"field": "hostPID", "value": true, "baseline": {"hostPID"}},
		"memory": {"field": "hostIPC", "value": true, "baseline": {"hostIPC"}},
		"folder": {"field": "volumes", "value": [{"name": "h", "hostPath": {"path": "/"}}], "baseline": {"volumes[0].hostPath"}},
		"sysctl": {
			"field": "securityContext",
			"value": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}]},
			"baseline": {"securityContext.sysctls"},
		},
		"NFS": {"field": "volumes", "value": [{"name": "h", "nfs": {}}], "baseline": set()},
	}
	paths("pod-security", token_server, [add(sprintf("%s/%s", [pod_path, case.field]), case.value)]) == {sprintf("%s.%s", [where, path]) |
		some path in case.baseline
	}
}

test_pod_security_of_annotations if {
	annotation := "/objects/0/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1jupyter"
	paths("pod-security", token_server, [add(annotation, "unconfined")]) == {"StatefulSet/alice: spec.template.metadata.annotations"}
	paths("pod-security", token_server, [add(annotation, "localhost/mine")]) == set()
}

test_pod_security_of_volumes if {
	changes := [add(sprintf("%s/volumes/-", [pod_path]), {"name": "n", "nfs": {}}), set("pod-security", {"level": "restricted"})]
	paths("pod-security", token_server, changes) == {concat("", [where, ".volumes[1]"])}
}
