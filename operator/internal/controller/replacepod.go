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

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
)

// A pod that cannot start blocks the StatefulSet controller in two cases, so that a corrected template never becomes a pod
// (pkg/controller/statefulset/stateful_set_control.go):
//
//   - with podManagementPolicy OrderedReady, processReplica waits for the pod to become ready before it looks at its revision
//     (kubernetes/kubernetes#67250). The chart sets Parallel; admission may change that, and so may spec.patches if the policies
//     allow it (rule rendered-kinds);
//   - with Parallel, in early releases of Kubernetes 1.35 and wherever the feature MaxUnavailableStatefulSet is on before
//     1.37: the broken pod uses up maxUnavailable (kubernetes/kubernetes#137409).
//
// In both, deleting the pod helps: the next one is created from the update revision, unless
// updateStrategy.rollingUpdate.partition says otherwise (newVersionedStatefulSetPod).

// stuckAfter is how long the StatefulSet controller has to replace a pod itself. It takes milliseconds.
const stuckAfter = 5 * time.Second

// stuckPod is since when the pod of a server is stuck, and whether it was deleted.
type stuckPod struct {
	uid     types.UID
	since   time.Time
	deleted bool
}

// replaceStuckPod deletes a pod that blocks the StatefulSet controller, once, and returns when to look again.
func (c *Controller) replaceStuckPod(ctx context.Context, t turn, facts gather.Facts) (time.Duration, error) {
	set, pod := facts.StatefulSet, facts.PodObject
	if !isStuck(set, pod) {
		t.memo.stuck = stuckPod{}
		return 0, nil
	}
	if t.memo.stuck.uid != pod.UID {
		t.memo.stuck = stuckPod{uid: pod.UID, since: c.clock.Now()}
	}
	if t.memo.stuck.deleted {
		return 0, nil // its end wakes the server
	}
	if wait := stuckAfter - c.clock.Since(t.memo.stuck.since); wait > 0 {
		return wait, nil
	}
	// The resource version guards what was seen: the pod may have started just now.
	err := c.client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("deleting a pod that cannot start: %w", err)
	}
	t.memo.stuck = stuckPod{uid: pod.UID, deleted: true}
	t.log.Info("Deleted a stuck pod", "pod", pod.Name)
	c.events.Eventf(t.server, pod, corev1.EventTypeNormal, "PodReplaced", "Replace",
		"deleted the pod %s, which cannot start and is not of the newest revision, because Kubernetes would wait for it", pod.Name)
	return 0, nil
}

// isStuck reports whether a pod is neither useful nor of the newest revision, and nothing is replacing it.
func isStuck(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	return gather.IsObserved(set) && pod != nil &&
		set.DeletionTimestamp == nil && pod.DeletionTimestamp == nil && metav1.IsControlledBy(pod, set) &&
		!diagnosis.IsScaledToZero(set) && replacesPods(set) &&
		set.Status.UpdateRevision != "" &&
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision &&
		!gather.IsReady(pod) && !gather.MayHoldKernels(pod)
}

// replacesPods reports whether a new pod is created from the newest template.
func replacesPods(set *appsv1.StatefulSet) bool {
	rolling := set.Spec.UpdateStrategy.RollingUpdate
	return rolling == nil || ptr.Deref(rolling.Partition, 0) == 0
}
