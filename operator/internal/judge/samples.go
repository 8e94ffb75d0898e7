// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// samples are servers on which new rules are tried, as the API server stores them: one with few fields set, and one with many.
var samples = []string{`
metadata: {name: sample, namespace: sample}
spec:
  jupyterServer: {image: quay.io/jupyter/minimal-notebook, imagePullPolicy: IfNotPresent, defaultUrl: /lab, rootDir: /home/jovyan/work}
  storage: {size: 1Gi}
  routing: {host: jupyter.example.org, path: /}
  auth: {mode: token}
`, `
metadata: {name: sample, namespace: sample, labels: {team: a}, annotations: {note: b}}
spec:
  suspend: true
  jupyterServer:
    image: quay.io/jupyter/minimal-notebook@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    imagePullPolicy: Always
    defaultUrl: /lab
    rootDir: /work
    resources: {requests: {cpu: 100m}, limits: {memory: 1Gi, nvidia.com/gpu: 1}}
    env: [{name: A, value: b}, {name: C, valueFrom: {secretKeyRef: {name: d, key: e}}}]
    extraArgs: [--debug]
  storage: {ephemeral: true, size: 1Gi}
  routing: {host: jupyter.example.org, path: /sample, ingressClassName: other, annotations: {kubernetes.io/tls-acme: "true"}, tls: {enabled: true}}
  auth:
    mode: oidc
    oidc: {issuerUrl: https://id.example.org, clientId: x, scopes: [openid, email, profile], allow: {users: [u], emails: [e@example.org], groups: [g]}}
  scheduling: {nodeSelector: {a: b}, tolerations: [{operator: Exists}]}
  pod:
    labels: {a: b}
    containers: [{name: other, image: other}]
    volumes: [{name: data, emptyDir: {}}]
    volumeMounts: [{name: data, mountPath: /data}]
  patches: [{target: {kind: Service}, type: merge, patch: "{metadata: {annotations: {a: b}}}"}]
`}

// Samples returns the inputs on which new rules are tried (policies.Options).
func Samples(renderer *render.Renderer) ([]policies.Input, error) {
	var inputs []policies.Input
	for i, text := range samples {
		server := &v1alpha1.JupyterServer{}
		if err := yaml.UnmarshalStrict([]byte(text), server); err != nil {
			return nil, fmt.Errorf("reading sample %d: %w", i, err)
		}
		objects, expected, err := New(renderer).objects(server, nil)
		if err != nil {
			return nil, fmt.Errorf("rendering sample %d: %w", i, err)
		}
		for _, operation := range []policies.Operation{policies.Create, policies.Update} {
			in := policies.Input{Operation: operation, Object: server, Objects: objects, Expected: expected, Namespace: policies.Namespace{Name: server.Namespace}}
			if operation == policies.Update {
				in.OldObject = server
			}
			inputs = append(inputs, in)
		}
	}
	return inputs, nil
}
