package jupyterserver.admission_test

import data.jupyterserver.admission

# METADATA
# title: A small server with mode token and the objects that it renders to
token_server := {
	"operation": "CREATE",
	"object": {
		"metadata": {"name": "alice", "namespace": "science"},
		"spec": {
			"jupyterServer": {"image": "quay.io/jupyter/minimal-notebook:latest"},
			"storage": {"ephemeral": false, "size": "1Gi"},
			"routing": {"host": "jupyter.example.org", "path": "/alice"},
			"auth": {"mode": "token"},
		},
	},
	"oldObject": null,
	"namespace": {"name": "science", "labels": {}, "annotations": {}},
	"user": {"name": "alice", "groups": []},
	"routes": [],
	"config": {"rules": {}},
	"objects": [
		{
			"apiVersion": "apps/v1",
			"kind": "StatefulSet",
			"metadata": {"name": "alice", "namespace": "science"},
			"spec": {"template": {
				"metadata": {"annotations": {}},
				"spec": {
					"automountServiceAccountToken": false,
					"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
					"containers": [{
						"name": "jupyter",
						"image": "quay.io/jupyter/minimal-notebook:latest",
						"args": ["jupyter", "server", "--ServerApp.ip=*", "--ServerApp.port=8888"],
						"env": [{"name": "JUPYTER_TOKEN", "valueFrom": {"secretKeyRef": {"name": "alice-jupyter", "key": "token"}}}],
						"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
					}],
					"volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": "alice"}}],
				},
			}},
		},
		{
			"apiVersion": "networking.k8s.io/v1",
			"kind": "Ingress",
			"metadata": {"name": "alice", "namespace": "science"},
			"spec": {"rules": [{
				"host": "jupyter.example.org",
				"http": {"paths": [{"path": "/alice", "pathType": "Prefix", "backend": {"service": {"name": "alice", "port": {"name": "http"}}}}]},
			}]},
		},
		{
			"apiVersion": "v1",
			"kind": "PersistentVolumeClaim",
			"metadata": {"name": "alice", "namespace": "science"},
			"spec": {"resources": {"requests": {"storage": "1Gi"}}},
		},
	],
}

# Paths in the input.
pod_path := "/objects/0/spec/template/spec"

container_path := "/objects/0/spec/template/spec/containers/0"

where := "StatefulSet/alice: spec.template.spec"

# METADATA
# title: The paths of a rule's verdicts on a changed input
paths(id, base, changes) := {one.path | some one in found; one.id == id} if {
	found := admission.verdicts with input as json.patch(base, changes)
}

add(path, value) := {"op": "add", "path": path, "value": value}

# METADATA
# title: The change that configures a rule
set(id, value) := add(sprintf("/config/rules/%s", [id]), value)

test_no_verdicts_by_default if {
	found := admission.verdicts with input as token_server
	found == set()
	admission.complete with input as token_server
}

test_verdict_fields if {
	found := admission.verdicts with input as json.patch(token_server, [add("/object/spec/auth/mode", "none")])
	found == {{
		"id": "auth-none",
		"severity": "deny",
		"message": "mode none would let in anyone who can reach the server; use token or oidc",
		"path": "spec.auth.mode",
		"remediation": "Set spec.auth.mode to token or oidc.",
	}}
}

test_severity_is_configured if {
	changes := [add("/object/spec/auth/mode", "none"), set("auth-none", {"severity": "warn"})]
	found := admission.verdicts with input as json.patch(token_server, changes)
	{one.severity | some one in found} == {"warn"}
}

test_rule_can_be_off if {
	paths("auth-none", token_server, [add("/object/spec/auth/mode", "none"), set("auth-none", {"severity": "off"})]) == set()
}

test_settled_settings_are_used if {
	changes := [add("/object/spec/auth/mode", "none"), add("/settled", {"auth-none": {"severity": "warn", "allow": false}})]
	paths("auth-none", token_server, changes) == {"spec.auth.mode"}
	admission.complete with input as json.patch(token_server, changes)
}

test_incomplete[note] if {
	some note, change in {
		"no operation": add("/operation", "DELETE"),
		"another namespace": add("/namespace/name", "art"),
		"no namespace": {"op": "remove", "path": "/namespace"},
		"no routes": {"op": "remove", "path": "/routes"},
		"no pods": add("/objects", []),
		"no configuration": {"op": "remove", "path": "/config"},
		"unknown severity": set("auth-none", {"severity": "denied"}),
		"unknown rule": set("auth-non", {"severity": "deny"}),
		"a setting of the wrong type": set("image-tags", {"forbidden": "latest"}),
		"no expected access control": add("/object/spec/auth/mode", "oidc"),
	}
	not admission.complete with input as json.patch(token_server, [change])
}

test_bare_pods_are_checked if {
	pod := {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other", "namespace": "science"}, "spec": {"hostNetwork": true}}
	paths("pod-security", token_server, [add("/objects/-", pod)]) == {"Pod/other: spec.hostNetwork"}
}
