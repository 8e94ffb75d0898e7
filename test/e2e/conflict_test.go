// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// recovery is how long a blocked server may take to recover: foreign objects do not trigger the operator, which retries every
// minute.
const recovery = start

func TestForeignServiceIsNotModified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.kubectl("create", "service", "clusterip", "alice", "--tcp=80:8080")
	before := w.kubectl("get", "service", "alice", "-o", "yaml", "--show-managed-fields")

	w.apply("alice")
	server := w.stalled("alice", v1alpha1.ReasonNameConflict)
	if !strings.Contains(server.Status.Message, "Service alice") {
		t.Errorf("the message does not name the Service: %s", server.Status.Message)
	}
	if after := w.kubectl("get", "service", "alice", "-o", "yaml", "--show-managed-fields"); after != before {
		t.Errorf("the foreign Service changed from\n%s\nto\n%s", before, after)
	}

	w.kubectl("delete", "service", "alice")
	w.answers(w.await("alice", "recovers", recovery, isRunning), w.token("alice"))
}

func TestForeignSecretIsNotModified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.kubectl("create", "secret", "generic", "alice-jupyter", "--from-literal=token=foreign")
	w.apply("alice")
	w.stalled("alice", v1alpha1.ReasonNameConflict)
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if got := string(secret.Data["token"]); got != "foreign" {
		t.Errorf("the foreign Secret changed: %q", got)
	}
	w.kubectl("delete", "secret", "alice-jupyter")
	w.answers(w.await("alice", "recovers", recovery, isRunning), w.token("alice"))
}

// The chart installs with Helm only, as its notes document. A JupyterServer of the same name does not modify that release, and
// installs its own after it is deleted.
func TestChartRunsWithHelmOnlyAndItsReleaseIsNotModified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	values := []string{"--set", "jupyterServer.image=" + suite.image, "--set", "jupyterServer.imagePullPolicy=IfNotPresent",
		"--set", "routing.host=" + w.host(), "--set", "routing.path=/alice"}
	notes := w.helm(append([]string{"install", "alice", "../../chart-jupyter-server"}, values...)...)
	if !strings.Contains(notes, "kubectl create secret generic -n "+w.namespace+" alice-jupyter") {
		t.Errorf("the notes do not document how to create the Secret:\n%s", notes)
	}
	const token = "made-by-hand-0123456789abcdef0123456789"
	w.kubectl("create", "secret", "generic", "alice-jupyter", "--from-literal=token="+token)
	w.kubectl("wait", "--for=create", "pod/alice-0", "--timeout=60s")
	w.kubectl("wait", "--for=condition=Ready", "pod/alice-0", "--timeout=170s")
	helmsOwn := &v1alpha1.JupyterServer{Status: v1alpha1.JupyterServerStatus{URL: "http://" + w.host() + ":8000/alice/"}}
	if got := w.cell(w.answers(helmsOwn, token), "6*7").Result; got != "42" {
		t.Errorf("6*7 is %q, want 42", got)
	}
	before := w.kubectl("get", "statefulsets,services,ingresses,networkpolicies,persistentvolumeclaims", "-o", "yaml", "--show-managed-fields")

	// The manually created Secret conflicts too, so the server references it.
	const ours = `auth: {token: {secretKeyRef: {name: alice-jupyter, key: token}}}`
	w.apply("alice", ours)
	w.stalled("alice", v1alpha1.ReasonReleaseConflict)
	if after := w.kubectl("get", "statefulsets,services,ingresses,networkpolicies,persistentvolumeclaims", "-o", "yaml", "--show-managed-fields"); after != before {
		t.Errorf("the foreign release changed from\n%s\nto\n%s", before, after)
	}
	if history := w.helm("history", "alice"); strings.Count(history, "\n") != 2 {
		t.Errorf("the history of the foreign release changed:\n%s", history)
	}

	w.helm("uninstall", "alice")
	w.kubectl("delete", "persistentvolumeclaim", "alice") // Helm keeps it because it contains files
	w.answers(w.await("alice", "recovers", recovery, isRunning), token)
}
