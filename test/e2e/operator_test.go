package e2e

import (
	"context"
	"errors"
	"testing"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// While the operator is down servers run on and can be deleted; what was asked for meanwhile is done when it is back, and
// nothing else. It is not parallel: others need the operator.
func TestOperatorMayBeDown(t *testing.T) {
	w := newWorld(t)
	before, alice := w.server("alice")
	w.server("bob")
	token, pod := w.token("alice"), w.podUID("alice-0")

	w.scaleOperator(0)
	w.Cleanup(func() { // also when the test fails in between
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
	w.apply("carol", `suspend: true`)

	w.scaleOperator(1)
	w.await("carol", "is seen", start, inState(v1alpha1.StateSuspended))
	w.kept(w.running("alice"), token)
	after := w.running("alice")
	if w.podUID("alice-0") != pod || after.Status.Release.Revision != before.Status.Release.Revision {
		t.Errorf("the operator's restart made another pod, or revision %d of %d", after.Status.Release.Revision, before.Status.Release.Revision)
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
