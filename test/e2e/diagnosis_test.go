// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
)

// The message of a server states the problem in terms of the spec, for users who do not know Kubernetes.
func TestMessageNamesTheRootCause(t *testing.T) {
	t.Parallel()
	tests := []struct {
		reason  string
		name    string
		prepare []string // arguments of kubectl
		spec    string
		words   []string // parts of the message
	}{
		{reason: "no node is large enough", name: "large", spec: `jupyterServer: {resources: {requests: {cpu: "1000"}}}`, words: []string{"No node has room", "cpu", "spec.jupyterServer.resources"}},
		{reason: "Jupyter does not start", name: "crash", spec: `jupyterServer: {extraArgs: [--ServerApp.max_body_size=lots]}`, words: []string{"exit code 1", "max_body_size", "spec.jupyterServer"}},
		{reason: "memory is too small", name: "memory", spec: `jupyterServer: {resources: {requests: {memory: 20Mi}, limits: {memory: 20Mi}}}`, words: []string{"more memory than its limit of 20Mi", "limits.memory"}},
		{reason: "a quota is used up", name: "quota", prepare: []string{"create", "quota", "none", "--hard=pods=0"}, words: []string{"quota", "none"}},
		{reason: "the storage class does not exist", name: "class", spec: `storage: {storageClassName: nope}`, words: []string{"storage class nope", "does not exist"}},
		{reason: "no node has the label", name: "label", spec: `scheduling: {nodeSelector: {disk: nope}}`, words: []string{"spec.scheduling"}},
		{reason: "the image has no Jupyter", name: "program", spec: `jupyterServer: {image: "localhost/jupyter-server-operator-none:1"}`, words: []string{"localhost/jupyter-server-operator-none:1", "spec.jupyterServer.image"}},
		{reason: "a Secret of the environment does not exist", name: "env", spec: `jupyterServer: {env: [{name: KEY, valueFrom: {secretKeyRef: {name: nope, key: nope}}}]}`, words: []string{"Secret nope does not exist"}},
		{reason: "Pod Security forbids the pod", name: "root", spec: `pod: {securityContext: {runAsNonRoot: false, runAsUser: 0}}`, words: []string{"Pod Security", "spec.pod"}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.prepare != nil {
				w.kubectl(test.prepare...)
			}
			if test.spec == "" {
				test.spec = "{}"
			}
			w.apply(test.name, test.spec)
			server := w.failed(test.name, test.words...)
			t.Log(server.Status.Message)
		})
	}
}

func TestRaisedMemoryLimitHeals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", `jupyterServer: {resources: {requests: {memory: 20Mi}, limits: {memory: 20Mi}}}`)
	w.failed("alice", "memory")
	w.server("alice", `jupyterServer: {resources: {requests: {memory: 64Mi}, limits: {memory: 1Gi}}}`)
}
