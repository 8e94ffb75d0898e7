package jupyterserver.admission_test

import data.jupyterserver.admission

# The parts of the rendered objects of a server with mode oidc that the rules read.
oidc_objects := [
	{
		"apiVersion": "apps/v1",
		"kind": "StatefulSet",
		"metadata": {"name": "alice", "namespace": "science"},
		"spec": {"template": {"spec": {
			"automountServiceAccountToken": false,
			"securityContext": {"runAsNonRoot": true},
			"initContainers": [
				access_container("access-check", [], []),
				access_container("access-proxy", [{"name": "access-proxy", "containerPort": 8000}], ["access-proxy"]),
				access_container("access-authentication", [], ["access-secrets"]),
			],
			"containers": [{
				"name": "jupyter",
				"image": "quay.io/jupyter/minimal-notebook:latest",
				"args": ["jupyter", "server", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=8888", "--IdentityProvider.token="],
			}],
			"volumes": [
				{"name": "access-proxy", "configMap": {"name": "alice-access"}},
				{"name": "access-secrets", "projected": {"sources": [{"secret": {"name": "alice-jupyter"}}]}},
				{"name": "access-client", "secret": {"secretName": "alice-oidc"}},
				{"name": "files", "persistentVolumeClaim": {"claimName": "alice"}},
			],
		}}},
	},
	{
		"apiVersion": "networking.k8s.io/v1",
		"kind": "Ingress",
		"metadata": {"name": "alice", "namespace": "science"},
		"spec": {
			"rules": [{
				"host": "jupyter.example.org",
				"http": {"paths": [{"path": "/alice", "pathType": "Prefix", "backend": {"service": {"name": "alice", "port": {"name": "http"}}}}]},
			}],
			"tls": [{"hosts": ["jupyter.example.org"]}],
		},
	},
	{
		"apiVersion": "v1",
		"kind": "Service",
		"metadata": {"name": "alice", "namespace": "science"},
		"spec": {"selector": {"jupyterserver.dev/name": "alice"}, "ports": [{"port": 80, "targetPort": "access-proxy"}]},
	},
	{
		"apiVersion": "v1",
		"kind": "ConfigMap",
		"metadata": {"name": "alice-access", "namespace": "science"},
		"data": {"routes.yaml": "routes"},
	},
	{
		"apiVersion": "networking.k8s.io/v1",
		"kind": "NetworkPolicy",
		"metadata": {"name": "alice", "namespace": "science"},
		"spec": {"podSelector": {}, "ingress": []},
	},
]

access_container(name, ports, mounts) := {
	"name": name,
	"image": name,
	"restartPolicy": "Always",
	"ports": ports,
	"readinessProbe": {"httpGet": {"path": "/readyz", "port": 1}, "periodSeconds": 2},
	"resources": {"limits": {"memory": "64Mi"}},
	"volumeMounts": [{"name": mount} | some mount in mounts],
}

oidc_server := object.union(token_server, {
	"object": {"spec": {"auth": {"mode": "oidc", "oidc": {
		"issuerUrl": "https://id.example.org",
		"clientId": "jupyter",
		"allow": {"users": ["alice"]},
	}}}},
	"objects": oidc_objects,
	"expected": oidc_objects,
})

remove(path) := {"op": "remove", "path": path}

test_oidc_unchanged if {
	found := admission.verdicts with input as oidc_server
	found == set()
	admission.complete with input as oidc_server
}

test_oidc_allows_unrelated_changes if {
	pod := "/objects/0/spec/template/spec"
	paths("oidc-intact", oidc_server, [
		add(sprintf("%s/initContainers/1/resources", [pod]), {"limits": {"memory": "1Gi"}}),
		add(sprintf("%s/initContainers/1/readinessProbe/periodSeconds", [pod]), 9),
		add(sprintf("%s/initContainers/-", [pod]), {"name": "last", "ports": [{"containerPort": 9000}]}),
		add(sprintf("%s/volumes/-", [pod]), {"name": "mine", "secret": {"secretName": "mine"}}),
		add(sprintf("%s/nodeSelector", [pod]), {"pool": "a"}),
		add("/objects/2/metadata/annotations", {"a": "b"}),
	]) == set()
}

test_oidc_intact[note] if {
	pod := "/objects/0/spec/template/spec"
	secret := {"name": "A", "valueFrom": {"secretKeyRef": {"name": "alice-jupyter", "key": "cookie-secret"}}}
	some note, case in {
		"object removed": {"change": remove("/objects/4"), "want": {"spec.patches"}},
		"object added": {
			"change": add("/objects/-", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "alice"}}),
			"want": {"spec.patches"},
		},
		"port": {"change": add("/objects/2/spec/ports/0/targetPort", 8888), "want": {"Service/alice: spec.ports"}},
		"selector": {"change": add("/objects/2/spec/selector", {}), "want": {"Service/alice: spec.selector"}},
		"name": {"change": add("/objects/2/spec/externalName", "evil"), "want": {"Service/alice: spec.externalName"}},
		"backend": {"change": add("/objects/1/spec/rules/0/http/paths/0/backend", {}), "want": {"Ingress/alice: spec"}},
		"default backend": {"change": add("/objects/1/spec/defaultBackend", {"service": {}}), "want": {"Ingress/alice: spec"}},
		"network": {"change": add("/objects/4/spec/ingress", [{}]), "want": {"NetworkPolicy/alice: spec"}},
		"configuration": {"change": add("/objects/3/data/routes.yaml", ""), "want": {"ConfigMap/alice-access"}},
		"access container removed": {
			"change": remove(sprintf("%s/initContainers/1", [pod])),
			"want": {concat("", [where, ".initContainers"])},
		},
		"container before": {
			"change": add(sprintf("%s/initContainers/0", [pod]), {"name": "first"}),
			"want": {concat("", [where, ".initContainers"])},
		},
		"access container twice": {
			"change": add(sprintf("%s/initContainers/-", [pod]), oidc_objects[0].spec.template.spec.initContainers[1]),
			"want": {concat("", [where, ".initContainers"])},
		},
		"access container changed": {
			"change": add(sprintf("%s/initContainers/1/image", [pod]), "evil"),
			"want": {concat("", [where, ".initContainers[1].image"])},
		},
		"probe of another path": {
			"change": add(sprintf("%s/initContainers/1/readinessProbe/httpGet/path", [pod]), "/"),
			"want": {concat("", [where, ".initContainers[1].readinessProbe"])},
		},
		"reserved container name": {
			"change": add(sprintf("%s/containers/-", [pod]), {"name": "access-proxy"}),
			"want": {concat("", [where, ".containers[1]"])},
		},
		"volume": {
			"change": add(sprintf("%s/volumes/0/configMap/name", [pod]), "evil"),
			"want": {concat("", [where, ".volumes"])},
		},
		"claim": {
			"change": add("/objects/0/spec/volumeClaimTemplates", [{"metadata": {"name": "access-proxy"}, "spec": {}}]),
			"want": {"StatefulSet/alice: spec.volumeClaimTemplates"},
		},
		"pod": {"change": add(sprintf("%s/hostNetwork", [pod]), true), "want": {concat("", [where, ".hostNetwork"])}},
		"jupyter renamed": {
			"change": add(sprintf("%s/containers/0/name", [pod]), "other"),
			"want": {concat("", [where, ".containers"])},
		},
		"jupyter's command": {
			"change": add(sprintf("%s/containers/0/command", [pod]), ["sh"]),
			"want": {concat("", [where, ".containers[0].command"])},
		},
		"jupyter's address": {
			"change": add(sprintf("%s/containers/0/args/-", [pod]), "--ip=0.0.0.0"),
			"want": {concat("", [where, ".containers[0].args"])},
		},
		"jupyter's settings": {
			"change": add(sprintf("%s/containers/0/env", [pod]), [{"name": "JUPYTERHUB_API_TOKEN", "value": "x"}]),
			"want": {concat("", [where, ".containers[0].env"])},
		},
		"mount": {
			"change": add(sprintf("%s/containers/0/volumeMounts", [pod]), [{"name": "access-secrets"}]),
			"want": {concat("", [where, ".containers[0].volumeMounts"])},
		},
		"secret in a volume": {
			"change": add(sprintf("%s/volumes/-", [pod]), {"name": "s", "secret": {"secretName": "alice-oidc"}}),
			"want": {concat("", [where, ".volumes[4]"])},
		},
		"secret in a variable": {
			"change": add(sprintf("%s/containers/0/env", [pod]), [secret]),
			"want": {concat("", [where, ".containers[0]"])},
		},
		"secret in variables": {
			"change": add(sprintf("%s/containers/0/envFrom", [pod]), [{"secretRef": {"name": "alice-jupyter"}}]),
			"want": {concat("", [where, ".containers[0]"])},
		},
		"reserved port name": {
			"change": add(sprintf("%s/containers/-", [pod]), {"name": "x", "ports": [{"containerPort": 1, "name": "access-proxy"}]}),
			"want": {concat("", [where, ".containers[1].ports"])},
		},
		"reserved port number": {
			"change": add(sprintf("%s/containers/-", [pod]), {"name": "x", "ports": [{"containerPort": 4180}]}),
			"want": {concat("", [where, ".containers[1].ports"])},
		},
	}
	paths("oidc-intact", oidc_server, [case.change]) == case.want
}

test_oidc_cannot_be_disabled if {
	changes := [add("/objects/3/data/routes.yaml", ""), set("oidc-intact", {"severity": "off"})]
	paths("oidc-intact", oidc_server, changes) == {"ConfigMap/alice-access"}
}

# The expected objects include the additions of the spec.
test_oidc_applies_to_the_spec if {
	argument := "--ServerApp.ip=0.0.0.0"
	paths("oidc-intact", oidc_server, [
		add("/objects/0/spec/template/spec/containers/0/args/-", argument),
		add("/expected/0/spec/template/spec/containers/0/args/-", argument),
	]) == {concat("", [where, ".containers[0].args"])}
}

test_oidc_without_patches_needs_no_expected if {
	bare := json.patch(oidc_server, [remove("/expected")])
	admission.complete with input as bare
	found := admission.verdicts with input as bare
	found == set()
	not admission.complete with input as json.patch(bare, [add("/object/spec/patches", [{}])])
}
