// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
)

func TestIsStuck(t *testing.T) {
	jupyter := func(pod *corev1.Pod, state corev1.ContainerState, started *bool) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: diagnosis.JupyterContainer, State: state, Started: started}}
	}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	tests := []struct {
		reason string
		edit   func(set *appsv1.StatefulSet, pod *corev1.Pod)
		want   bool
	}{
		{reason: "it has no node", want: true},
		{reason: "its image cannot be pulled", want: true, edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { jupyter(pod, waiting, nil) }},
		{reason: "Jupyter ended", want: true, edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { jupyter(pod, ended, new(false)) }},
		{reason: "Jupyter has not answered yet", want: true, edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { jupyter(pod, runs, new(false)) }},
		{reason: "only another container runs", want: true, edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) {
			jupyter(pod, waiting, nil)
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: "proxy", State: runs, Started: new(true)})
		}},
		{reason: "Jupyter runs, and may hold kernels", edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { jupyter(pod, runs, new(true)) }},
		{reason: "Jupyter runs, and it is unknown whether it has started", edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { jupyter(pod, runs, nil) }},
		{reason: "it is ready", edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}},
		{reason: "it is of the newest revision", edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) {
			pod.Labels[appsv1.ControllerRevisionHashLabelKey] = "new"
		}},
		{reason: "it is being deleted", edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { pod.DeletionTimestamp = new(metav1.Now()) }},
		{reason: "it has no owner", edit: func(_ *appsv1.StatefulSet, pod *corev1.Pod) { pod.OwnerReferences = nil }},
		{reason: "the StatefulSet is being deleted", edit: func(set *appsv1.StatefulSet, _ *corev1.Pod) { set.DeletionTimestamp = new(metav1.Now()) }},
		{reason: "the StatefulSet is scaled to zero", edit: func(set *appsv1.StatefulSet, _ *corev1.Pod) { set.Spec.Replicas = ptr.To[int32](0) }},
		{reason: "the newest template has not been observed", edit: func(set *appsv1.StatefulSet, _ *corev1.Pod) { set.Generation = 3 }},
		{reason: "no template has been observed", edit: func(set *appsv1.StatefulSet, _ *corev1.Pod) { set.Status.UpdateRevision = "" }},
		{reason: "a partition keeps the old revision", edit: func(set *appsv1.StatefulSet, _ *corev1.Pod) {
			set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](1)}
		}},
		{reason: "a partition keeps nothing", want: true, edit: func(set *appsv1.StatefulSet, _ *corev1.Pod) {
			set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](0)}
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "alice", UID: "1", Generation: 2}}
			set.Status = appsv1.StatefulSetStatus{ObservedGeneration: 2, CurrentRevision: "old", UpdateRevision: "new"}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Name: "alice-0", Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: "old"},
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
			}}
			if test.edit != nil {
				test.edit(set, pod)
			}
			if got := isStuck(set, pod); got != test.want {
				t.Errorf("stuck: %v, want %v", got, test.want)
			}
		})
	}
	if isStuck(nil, &corev1.Pod{}) || isStuck(&appsv1.StatefulSet{}, nil) {
		t.Error("a missing StatefulSet or pod is stuck")
	}
}
