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

// deletionStuck finds a pod that is terminating for too long. DeletionTimestamp is the end of its grace period.
func deletionStuck(o Observation) (Finding, bool) {
	pod := o.Pod
	if pod.DeletionTimestamp == nil || o.Now.Sub(pod.DeletionTimestamp.Time) < stepTimeout {
		return none()
	}
	if len(pod.Finalizers) > 0 {
		return degraded("Terminating",
			fmt.Sprintf("The old pod %s cannot be deleted: another controller holds it with the finalizer %s", quote(pod.Name), quote(pod.Finalizers[0])),
			"Ask your administrator about that controller")
	}
	return degraded("NodeLost",
		fmt.Sprintf("The old pod %s is terminating, but its node %s does not confirm it, so the node is probably down", quote(pod.Name), nodeName(pod)),
		"Ask your administrator to bring the node back, or to delete it from the cluster")
}

// disrupted finds out why the pod is being evicted, from the condition DisruptionTarget.
func disrupted(o Observation) (Finding, bool) {
	c := condition(o.Pod, corev1.DisruptionTarget)
	if c.Status != corev1.ConditionTrue || o.Pod.Status.Reason == "Evicted" {
		return none()
	}
	f, found := Finding{}, true
	switch c.Reason {
	case corev1.PodReasonPreemptionByScheduler: // pkg/scheduler/framework/preemption/executor.go
		f, _ = degraded("Preempted", "The pod was preempted by one with higher priority", "It restarts when there is room; to raise its priority, set spec.scheduling.priorityClassName")
	case "EvictionByEvictionAPI": // pkg/registry/core/pod/storage/eviction.go
		f, _ = progressing("Evicted", fmt.Sprintf("The node %s is being drained, probably for maintenance", nodeName(o.Pod)), "The server restarts on another node automatically")
	case "DeletionByTaintManager": // pkg/controller/tainteviction/taint_eviction.go
		f, _ = degraded("NodeLost", fmt.Sprintf("The node %s went down or must no longer run the pod", nodeName(o.Pod)), "The server restarts on another node automatically, once the old pod is gone")
	case "DeletionByPodGC": // pkg/controller/podgc/gc_controller.go
		f, _ = degraded("NodeLost", fmt.Sprintf("The node %s is gone", nodeName(o.Pod)), "The server restarts on another node automatically")
	default:
		found = false
	}
	f.Recheck = untilStuck(o)
	return f, found
}

// terminating covers the time between the deletion and the end of the pod.
func terminating(o Observation) (Finding, bool) {
	if o.Pod.DeletionTimestamp == nil {
		return none()
	}
	f, found := progressing("Terminating", "The pod is stopping", "")
	f.Recheck = untilStuck(o)
	return f, found
}

// untilStuck returns the time until deletionStuck applies, or zero if it never does.
func untilStuck(o Observation) time.Duration {
	if o.Pod.DeletionTimestamp == nil {
		return 0
	}
	return max(time.Second, o.Pod.DeletionTimestamp.Add(stepTimeout).Sub(o.Now))
}

// podFailed finds out why the node stopped the whole pod. The StatefulSet controller replaces such a pod.
func podFailed(o Observation) (Finding, bool) {
	if o.Pod.Status.Phase != corev1.PodFailed {
		return none()
	}
	const again = "The server restarts automatically"
	reason, why := o.Pod.Status.Reason, o.Pod.Status.Message
	switch {
	case reason == "Evicted": // pkg/kubelet/eviction/helpers.go
		return evicted(why)
	case reason == "Preempting": // pkg/kubelet/preemption/preemption.go
		return degraded("Preempted", "The pod was preempted by one with higher priority on its node", again)
	case reason == "Terminated", reason == "NodeShutdown": // pkg/kubelet/nodeshutdown/nodeshutdown_manager.go
		return degraded("NodeShutdown", fmt.Sprintf("The node %s is shutting down", nodeName(o.Pod)), again)
	case strings.HasPrefix(reason, "OutOf"): // pkg/kubelet/lifecycle/predicate.go: OutOfcpu, OutOfmemory, OutOfpods
		return degraded(reason, fmt.Sprintf("The node %s had no room for the pod: %s", nodeName(o.Pod), why), again)
	}
	return degraded(cmp.Or(reason, "PodFailed"), "The pod failed: "+cmp.Or(why, reason, "no reason given"), again)
}

// evicted interprets the kubelet's message about an eviction (pkg/kubelet/eviction/helpers.go).
func evicted(why string) (Finding, bool) {
	switch {
	case strings.Contains(why, "Usage of EmptyDir volume"):
		return degraded("Evicted", "The pod was stopped because its files exceeded their size limit: "+why, "Increase spec.storage.size, or write less; the server restarts automatically")
	case strings.Contains(why, "exceeded its local ephemeral storage limit"), strings.Contains(why, "ephemeral local storage usage exceeds"):
		return degraded("Evicted", "The pod was stopped because it wrote too much outside its volume: "+why, "Increase spec.jupyterServer.resources.limits.ephemeral-storage, or write to the volume")
	case strings.Contains(why, "low on resource: memory"):
		return degraded("Evicted", "The pod was stopped because its node ran out of memory: "+why, "It restarts automatically; to prevent this, increase spec.jupyterServer.resources.requests.memory")
	}
	return degraded("Evicted", "The node stopped the pod: "+why, "The server restarts automatically")
}

// nodeNotReady finds a node that stopped reporting. The node controller then sets the pod's Ready condition to false and leaves its
// containers unchanged (pkg/controller/util/node/controller_utils.go, MarkPodsNotReady).
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
		fmt.Sprintf("The node %s stopped reporting its status", nodeName(pod)),
		"Wait a few minutes: Kubernetes then moves the server; if it does not, ask your administrator about the node")
}

func nodeName(pod *corev1.Pod) string {
	return cmp.Or(quote(pod.Spec.NodeName), "(unknown)")
}
