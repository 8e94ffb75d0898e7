// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// A pod that cannot start holds up the StatefulSet controller in two cases, so that a corrected template never becomes a pod
// (pkg/controller/statefulset/stateful_set_control.go):
//
//   - with podManagementPolicy OrderedReady, processReplica waits for the pod to become ready before anybody looks at its revision
//     (kubernetes/kubernetes#67250). The chart sets Parallel; admission of the cluster may change that, and spec.patches where
//     the admin lets them (rule rendered-kinds);
//   - with Parallel, in early releases of Kubernetes 1.35 and wherever the feature MaxUnavailableStatefulSet is on before
//     1.37: the broken pod uses up maxUnavailable (kubernetes/kubernetes#137409).
//
// In both, deleting the pod helps: the next one is made from the update revision, unless updateStrategy.rollingUpdate.partition
// says otherwise (newVersionedStatefulSetPod).

// stuckAfter is how long the StatefulSet controller gets to replace a pod itself. It takes milliseconds.
const stuckAfter = 5 * time.Second

// stuckPod is since when the pod of a server is stuck, and whether it was deleted.
type stuckPod struct {
	uid     types.UID
	since   time.Time
	deleted bool
}

// unstick deletes a pod that holds up the StatefulSet controller, once, and returns when to look again.
func (r *Reconciler) unstick(ctx context.Context, server *v1alpha1.JupyterServer, w workload) (time.Duration, error) {
	key := client.ObjectKeyFromObject(server)
	if !isStuck(w.set, w.pod) {
		r.stuck.forget(key)
		return 0, nil
	}
	known, _ := r.stuck.get(key)
	if known.uid != w.pod.UID {
		known = stuckPod{uid: w.pod.UID, since: r.Clock.Now()}
		r.stuck.set(key, known)
	}
	if known.deleted {
		return 0, nil // its end wakes us
	}
	if wait := stuckAfter - r.Clock.Since(known.since); wait > 0 {
		return wait, nil
	}
	// The resource version guards what was judged: it may have started just now.
	err := r.Client.Delete(ctx, w.pod, client.Preconditions{UID: &w.pod.UID, ResourceVersion: &w.pod.ResourceVersion})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("deleting a pod that cannot start: %w", err)
	}
	r.stuck.set(key, stuckPod{uid: w.pod.UID, deleted: true})
	r.Events.Eventf(server, w.pod, corev1.EventTypeNormal, "PodReplaced", "Replace",
		"deleted the pod %s, which cannot start and is not what the spec says any more, because Kubernetes would wait for it for ever", w.pod.Name)
	return 0, nil
}

// isStuck says whether a pod is neither of use nor of the revision that the StatefulSet controller works on, and nothing is under
// way to replace it.
func isStuck(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	return isObserved(set) && pod != nil &&
		set.DeletionTimestamp == nil && pod.DeletionTimestamp == nil && metav1.IsControlledBy(pod, set) &&
		!isStopped(set) && replacesPods(set) &&
		set.Status.UpdateRevision != "" &&
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision &&
		!isReady(pod) && !mayHoldKernels(pod)
}

// replacesPods says whether a new pod is made from the newest template.
func replacesPods(set *appsv1.StatefulSet) bool {
	rolling := set.Spec.UpdateStrategy.RollingUpdate
	return rolling == nil || ptr.Deref(rolling.Partition, 0) == 0
}

// mayHoldKernels says whether Jupyter runs in a pod, ready or not. One that has not passed its startup probe has never answered,
// so that nobody can have started a kernel.
func mayHoldKernels(pod *corev1.Pod) bool {
	jupyter := jupyterOf(pod)
	return jupyter != nil && jupyter.State.Running != nil && ptr.Deref(jupyter.Started, true)
}
