// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const (
	oldProxy = "docker.io/library/traefik:v3.7.9"
	newProxy = "docker.io/library/traefik:v3.8.0"
)

// configured is an operator with a configuration that a test replaces, as a new version of it would.
func (w *world) configured(config string) (o *operator, replace func(config string)) {
	w.Helper()
	file := filepath.Join(w.TempDir(), "config.yaml")
	write := func(config string) {
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	write(config)
	o = w.operator("--config=" + file)
	return o, func(config string) {
		w.Helper()
		o.stop()
		write(config)
		o.start()
		w.eventually("starting again", o.hasStarted)
	}
}

// runs plays the kubelet: the pod of a server in which Jupyter runs.
func (w *world) runs(name string) *corev1.Pod {
	w.Helper()
	set := &appsv1.StatefulSet{}
	if err := w.tryGet(set, name); err != nil {
		w.Fatal(err)
	}
	hash := fmt.Sprintf("%s-%d", name, set.Generation)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-0", Namespace: w.namespace, Labels: map[string]string{"jupyterserver.dev/name": name, "controller-revision-hash": hash}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "jupyter", Image: "x"}}},
	}
	if err := suite.client.Create(w.ctx, pod); err != nil {
		w.Fatal(err)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "jupyter", Image: "x", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, UpdateRevision: hash, Replicas: 1}
	if err := errors.Join(suite.client.Status().Update(w.ctx, pod), suite.client.Status().Update(w.ctx, set)); err != nil {
		w.Fatal(err)
	}
	return pod
}

// proxyOf is the image of a server's proxy, as the StatefulSet has it.
func (w *world) proxyOf(name string) error {
	set := &appsv1.StatefulSet{}
	if err := w.tryGet(set, name); err != nil {
		return err
	}
	template := set.Spec.Template.Spec
	for _, container := range append(template.InitContainers, template.Containers...) {
		if container.Image == newProxy {
			return nil
		}
	}
	return fmt.Errorf("the pod of %s has not got %s", name, newProxy)
}

func (w *world) upToDate(name string, wanted metav1.ConditionStatus) {
	w.Helper()
	w.eventually(fmt.Sprintf("UpToDate of %s being %s", name, wanted), func() error {
		server := &v1alpha1.JupyterServer{}
		if err := w.tryGet(server, name); err != nil {
			return err
		}
		if is := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionUpToDate); is == nil || is.Status != wanted {
			return fmt.Errorf("the status is %+v", server.Status)
		}
		return nil
	})
}

func proxy(image, more string) string {
	return "access:\n  proxyImage: " + image + "\n" + more
}

func oidcSpec() map[string]any {
	return map[string]any{"auth": map[string]any{"mode": "oidc", "oidc": map[string]any{
		"issuerUrl": "https://id.example.org", "clientId": "jupyter", "allow": map[string]any{"users": []any{"alice"}},
	}}}
}

// A new operator makes other pods. Who works in one keeps it until it stops; who does not gets the new one at once.
func TestNewOperatorRestartsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.createWith(w.namespace, "works", nil, oidcSpec())
	w.createWith(w.namespace, "idle", nil, oidcSpec())
	_, replace := w.configured(proxy(oldProxy, ""))
	w.released(w.namespace)
	pod := w.runs("works")

	replace(proxy(newProxy, ""))
	w.upToDate("works", metav1.ConditionFalse)
	w.eventually("what does not run gets the new pod", func() error { return w.proxyOf("idle") })
	w.upToDate("idle", metav1.ConditionTrue)
	if w.proxyOf("works") == nil {
		t.Error("a pod in which somebody works was replaced")
	}

	w.remove(&corev1.Service{}, "works")
	w.eventually("what waits is kept in order", func() error { return w.tryGet(&corev1.Service{}, "works") })
	w.atRest(w.namespace)
	if w.proxyOf("works") == nil {
		t.Error("a repair brought the new pod along")
	}

	if err := suite.client.Delete(w.ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.eventually("it stopped, and gets the new pod", func() error { return w.proxyOf("works") })
	w.upToDate("works", metav1.ConditionTrue)
}

func TestNewOperatorRestartsAllWhenTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.createWith(w.namespace, "works", nil, oidcSpec())
	_, replace := w.configured(proxy(oldProxy, ""))
	w.released(w.namespace)
	w.runs("works")
	replace(proxy(newProxy, "release:\n  restartRunning: true\n"))
	w.eventually("the pod is replaced", func() error { return w.proxyOf("works") })
}

// What does not touch the pod need not wait.
func TestNewOperatorChangesWhatRestartsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.createWith(w.namespace, "works", nil, oidcSpec())
	_, replace := w.configured(proxy(oldProxy, "ingress:\n  className: old\n"))
	w.released(w.namespace)
	w.runs("works")
	replace(proxy(oldProxy, "ingress:\n  className: new\n"))
	w.eventually("the Ingress changes", func() error {
		ingress := &networkingv1.Ingress{}
		if err := w.tryGet(ingress, "works"); err != nil {
			return err
		}
		if class := ingress.Spec.IngressClassName; class == nil || *class != "new" {
			return errors.New("the class is still the old one")
		}
		return nil
	})
	w.upToDate("works", metav1.ConditionTrue)
}
