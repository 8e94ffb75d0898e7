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

// configured starts an operator and returns a function that replaces its configuration, as an upgrade would.
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
		w.eventually("starting again", o.checkStarted)
	}
}

// runPod acts as the kubelet: it creates the running pod of a server.
func (w *world) runPod(name string) *corev1.Pod {
	w.Helper()
	set := &appsv1.StatefulSet{}
	if err := w.get(set, name); err != nil {
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

// proxyOf returns an error unless the StatefulSet of a server has the new proxy image.
func (w *world) proxyOf(name string) error {
	set := &appsv1.StatefulSet{}
	if err := w.get(set, name); err != nil {
		return err
	}
	template := set.Spec.Template.Spec
	for _, container := range append(template.InitContainers, template.Containers...) {
		if container.Image == newProxy {
			return nil
		}
	}
	return fmt.Errorf("the pod of %s does not have %s", name, newProxy)
}

func (w *world) upToDate(name string, wanted metav1.ConditionStatus) {
	w.Helper()
	w.eventually(fmt.Sprintf("UpToDate of %s being %s", name, wanted), func() error {
		server := &v1alpha1.JupyterServer{}
		if err := w.get(server, name); err != nil {
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

// An upgrade changes the pods. Running pods are kept until they stop; others are replaced immediately.
func TestUpgradeKeepsRunningPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.createWith(w.namespace, "works", nil, oidcSpec())
	w.createWith(w.namespace, "idle", nil, oidcSpec())
	_, replace := w.configured(proxy(oldProxy, ""))
	w.released(w.namespace)
	pod := w.runPod("works")

	replace(proxy(newProxy, ""))
	w.upToDate("works", metav1.ConditionFalse)
	w.eventually("the server that is not running gets the new pod", func() error { return w.proxyOf("idle") })
	w.upToDate("idle", metav1.ConditionTrue)
	if w.proxyOf("works") == nil {
		t.Error("a running pod was replaced")
	}

	w.remove(&corev1.Service{}, "works")
	w.eventually("drift of the pending server is reverted", func() error { return w.get(&corev1.Service{}, "works") })
	w.waitIdle(w.namespace)
	if w.proxyOf("works") == nil {
		t.Error("reverting drift replaced the pod")
	}

	if err := suite.client.Delete(w.ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the stopped server gets the new pod", func() error { return w.proxyOf("works") })
	w.upToDate("works", metav1.ConditionTrue)
}

func TestUpgradeRestartsRunningPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.createWith(w.namespace, "works", nil, oidcSpec())
	_, replace := w.configured(proxy(oldProxy, ""))
	w.released(w.namespace)
	w.runPod("works")
	replace(proxy(newProxy, "release:\n  restartRunning: true\n"))
	w.eventually("the pod is replaced", func() error { return w.proxyOf("works") })
}

// Changes that do not affect the pod are applied immediately.
func TestUpgradeAppliesChangesWithoutRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.createWith(w.namespace, "works", nil, oidcSpec())
	_, replace := w.configured(proxy(oldProxy, "ingress:\n  className: old\n"))
	w.released(w.namespace)
	w.runPod("works")
	replace(proxy(oldProxy, "ingress:\n  className: new\n"))
	w.eventually("the Ingress changes", func() error {
		ingress := &networkingv1.Ingress{}
		if err := w.get(ingress, "works"); err != nil {
			return err
		}
		if class := ingress.Spec.IngressClassName; class == nil || *class != "new" {
			return errors.New("the class is unchanged")
		}
		return nil
	})
	w.upToDate("works", metav1.ConditionTrue)
}
