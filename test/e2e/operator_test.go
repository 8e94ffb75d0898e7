// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// While the operator is down, servers keep running and can be deleted. The failurePolicy determines whether they can be created
// and changed; such requests are evaluated and applied when the operator is back. It is not parallel, because other tests need the
// operator.
func TestOperatorDowntime(t *testing.T) {
	w := newWorld(t)
	before, alice := w.server("alice")
	w.server("bob")
	token, pod := w.token("alice"), w.podUID("alice-0")

	w.scaleOperator(0)
	w.Cleanup(func() { // also if the test fails
		ctx, cancel := context.WithTimeout(context.Background(), start)
		defer cancel()
		if _, err := w.tryRun(ctx, "", "kubectl", "-n", operatorNamespace, "scale", "deployment", operatorDeployment, "--replicas=1"); err != nil {
			w.Error(err)
		}
	})
	w.wantFile(alice, "kept.txt", "of alice")
	w.kubectl("delete", "jupyterserver", "bob")
	w.eventually("bob is gone without the operator", start, func() error {
		out, err := w.tryRun(w.ctx, "", "kubectl", "get", "statefulsets,pods,secrets,persistentvolumeclaims,ingresses", "-l", "jupyterserver.dev/name=bob", "-o", "name")
		if err == nil && out != "" {
			err = errors.New("still there: " + out)
		}
		return err
	})
	w.kubectl("delete", "ingress", "alice")
	if err := w.tryApply(w.manifest("carol", `suspend: true`)); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("got %v, want an error of the webhook", err)
	}
	w.failurePolicy("Ignore")
	w.Cleanup(func() { w.failurePolicy("Fail") })
	w.apply("carol", `suspend: true`)
	w.apply("dave", `auth: {mode: none}`)

	w.scaleOperator(1)
	w.await("carol", "is seen", start, inState(v1alpha1.StateSuspended))
	w.stalled("dave", "AuthNone")
	if out := w.kubectl("get", "statefulsets,secrets,ingresses", "-l", "jupyterserver.dev/name=dave", "-o", "name"); out != "" {
		t.Errorf("a denied server was installed: %s", out)
	}
	w.checkFile(w.running("alice"), token)
	after := w.running("alice")
	if w.podUID("alice-0") != pod || after.Status.Release.Revision != before.Status.Release.Revision {
		t.Errorf("the operator's restart replaced the pod, or created revision %d after %d", after.Status.Release.Revision, before.Status.Release.Revision)
	}
}

// failurePolicy sets whether requests fail while the webhook is down.
func (w *world) failurePolicy(policy string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	patch := `[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "` + policy + `"}]`
	if _, err := w.tryRun(ctx, "", "kubectl", "patch", "validatingwebhookconfiguration", operatorDeployment+"-webhook", "--type=json", "-p", patch); err != nil {
		w.Error(err)
	}
}

func (w *world) scaleOperator(replicas int) {
	w.Helper()
	count := []string{"0", "1"}[replicas]
	w.kubectl("-n", operatorNamespace, "scale", "deployment", operatorDeployment, "--replicas="+count)
	if replicas == 0 {
		w.kubectl("-n", operatorNamespace, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=jupyter-server-operator", "--timeout=60s")
		return
	}
	w.kubectl("-n", operatorNamespace, "rollout", "status", "deployment", operatorDeployment, "--timeout=120s")
}
