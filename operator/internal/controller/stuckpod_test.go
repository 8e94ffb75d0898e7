// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A pod of an old revision that cannot start is deleted; one that may have kernels is kept.
func TestStuckPodIsDeleted(t *testing.T) {
	w := newWorld(t)
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	serves := w.oldPod("serves", corev1.PodStatus{
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "jupyter", Image: "x", Ready: true, Started: new(true), State: runs}},
	})
	unready := w.oldPod("unready", corev1.PodStatus{
		ContainerStatuses: []corev1.ContainerStatus{{Name: "jupyter", Image: "x", Started: new(true), State: runs}},
	})
	broken := w.oldPod("broken", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name: "jupyter", Image: "x", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}},
	}}})
	w.eventually("the broken pod is deleted", func() error {
		if w.exists(broken) {
			return errors.New("it still exists")
		}
		return w.hasEvent("broken", "PodReplaced")
	})
	time.Sleep(2 * time.Second) // the other pods are as old
	for _, pod := range []*corev1.Pod{serves, unready} {
		if !w.exists(pod) {
			t.Errorf("the pod %s was deleted", pod.Name)
		}
	}
}

// exists reports whether a pod exists and is not being deleted.
func (w *world) exists(pod *corev1.Pod) bool {
	found := &corev1.Pod{}
	err := w.tryGet(pod.Name, found)
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	return err == nil && found.DeletionTimestamp == nil
}

// oldPod creates a server with a pod of an older revision than the StatefulSet controller has observed.
func (w *world) oldPod(name string, status corev1.PodStatus) *corev1.Pod {
	w.Helper()
	w.create(w.server(name))
	w.released(name)
	w.observe(name)
	set := &appsv1.StatefulSet{}
	w.get(name, set)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-0", Namespace: w.namespace,
			Labels:          map[string]string{"jupyterserver.dev/name": name, appsv1.ControllerRevisionHashLabelKey: name + "-1"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "jupyter", Image: "x"}}},
	}
	w.create(pod)
	w.podStatus(pod, status)
	return pod
}
