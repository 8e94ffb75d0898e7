// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// deletionStuck finds a pod that should have been gone for long. DeletionTimestamp is the end of its grace period.
func deletionStuck(o Observation) (Finding, bool) {
	pod := o.Pod
	if pod.DeletionTimestamp == nil || o.Now.Sub(pod.DeletionTimestamp.Time) < patience {
		return none()
	}
	if len(pod.Finalizers) > 0 {
		return degraded("Terminating",
			fmt.Sprintf("The old pod %s cannot go: another program holds it with the finalizer %s", quote(pod.Name), quote(pod.Finalizers[0])),
			"Ask the admin about that program")
	}
	return degraded("NodeLost",
		fmt.Sprintf("The old pod %s was told to stop, but its node %s does not confirm it, so the node is probably down", quote(pod.Name), nodeName(pod)),
		"Ask the admin to bring the node back, or to delete it from the cluster")
}

// disrupted finds who sends the pod away, by the condition DisruptionTarget.
func disrupted(o Observation) (Finding, bool) {
	c := condition(o.Pod, corev1.DisruptionTarget)
	if c.Status != corev1.ConditionTrue || o.Pod.Status.Reason == "Evicted" {
		return none()
	}
	f, found := Finding{}, true
	switch c.Reason {
	case corev1.PodReasonPreemptionByScheduler: // pkg/scheduler/framework/preemption/executor.go
		f, _ = degraded("Preempted", "The pod had to make room for a more important one", "It starts again when there is room; for a higher rank, set spec.scheduling.priorityClassName")
	case "EvictionByEvictionAPI": // pkg/registry/core/pod/storage/eviction.go
		f, _ = progressing("Evicted", fmt.Sprintf("The node %s is being emptied, probably for maintenance", nodeName(o.Pod)), "The server starts again on another node by itself")
	case "DeletionByTaintManager": // pkg/controller/tainteviction/taint_eviction.go
		f, _ = degraded("NodeLost", fmt.Sprintf("The node %s went down or must not run the pod any more", nodeName(o.Pod)), "The server starts again on another node by itself, once the old pod is gone")
	case "DeletionByPodGC": // pkg/controller/podgc/gc_controller.go
		f, _ = degraded("NodeLost", fmt.Sprintf("The node %s is gone", nodeName(o.Pod)), "The server starts again on another node by itself")
	default:
		found = false
	}
	f.Recheck = stuckIn(o)
	return f, found
}

// terminating is the time between the order to stop and the end.
func terminating(o Observation) (Finding, bool) {
	if o.Pod.DeletionTimestamp == nil {
		return none()
	}
	f, found := progressing("Terminating", "The pod is stopping", "")
	f.Recheck = stuckIn(o)
	return f, found
}

// stuckIn is the time until deletionStuck applies, zero if it never does.
func stuckIn(o Observation) time.Duration {
	if o.Pod.DeletionTimestamp == nil {
		return 0
	}
	return max(time.Second, o.Pod.DeletionTimestamp.Add(patience).Sub(o.Now))
}

// podFailed finds why the node put an end to the whole pod. The StatefulSet controller replaces such a pod.
func podFailed(o Observation) (Finding, bool) {
	if o.Pod.Status.Phase != corev1.PodFailed {
		return none()
	}
	const again = "The server starts again by itself"
	reason, why := o.Pod.Status.Reason, o.Pod.Status.Message
	switch {
	case reason == "Evicted": // pkg/kubelet/eviction/helpers.go
		return evicted(why)
	case reason == "Preempting": // pkg/kubelet/preemption/preemption.go
		return degraded("Preempted", "The pod had to make room for a more important one on its node", again)
	case reason == "Terminated", reason == "NodeShutdown": // pkg/kubelet/nodeshutdown/nodeshutdown_manager.go
		return degraded("NodeShutdown", fmt.Sprintf("The node %s is shutting down", nodeName(o.Pod)), again)
	case strings.HasPrefix(reason, "OutOf"): // pkg/kubelet/lifecycle/predicate.go: OutOfcpu, OutOfmemory, OutOfpods
		return degraded(reason, fmt.Sprintf("The node %s was full when the pod came: %s", nodeName(o.Pod), why), again)
	}
	return degraded(cmp.Or(reason, "PodFailed"), "The pod has failed: "+cmp.Or(why, reason, "no reason is given"), again)
}

// evicted reads what the kubelet says about an eviction (pkg/kubelet/eviction/helpers.go).
func evicted(why string) (Finding, bool) {
	switch {
	case strings.Contains(why, "Usage of EmptyDir volume"):
		return degraded("Evicted", "The pod was stopped because its files grew too large: "+why, "Raise spec.storage.size, or write less; the server starts again by itself")
	case strings.Contains(why, "exceeded its local ephemeral storage limit"), strings.Contains(why, "ephemeral local storage usage exceeds"):
		return degraded("Evicted", "The pod was stopped because it wrote too much outside of its volume: "+why, "Raise spec.jupyterServer.resources.limits.ephemeral-storage, or write to the volume")
	case strings.Contains(why, "low on resource: memory"):
		return degraded("Evicted", "The pod was stopped because its node ran out of memory: "+why, "It starts again by itself; to be safe, raise spec.jupyterServer.resources.requests.memory")
	}
	return degraded("Evicted", "The node stopped the pod: "+why, "The server starts again by itself")
}

// nodeNotReady finds a node that does not report any more. The node controller then sets the pod's Ready to false and
// leaves its containers as they were (pkg/controller/util/node/controller_utils.go, MarkPodsNotReady).
func nodeNotReady(o Observation) (Finding, bool) {
	pod := o.Pod
	silent := conditionStatus(pod, corev1.PodReady) == corev1.ConditionFalse &&
		conditionStatus(pod, corev1.ContainersReady) == corev1.ConditionTrue &&
		len(pod.Spec.ReadinessGates) == 0
	// NodeLost: pkg/util/node/node.go
	if !silent && pod.Status.Phase != corev1.PodUnknown && pod.Status.Reason != "NodeLost" {
		return none()
	}
	return degraded("NodeNotReady",
		fmt.Sprintf("The node %s does not report any more", nodeName(pod)),
		"Wait some minutes: Kubernetes then moves the server; if it does not, ask the admin about the node")
}

func nodeName(pod *corev1.Pod) string {
	return cmp.Or(quote(pod.Spec.NodeName), "(unknown)")
}
