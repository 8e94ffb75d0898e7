// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// waitingForNode returns the condition of a pod that the scheduler cannot place now. The condition is used instead of the
// FailedScheduling events, which remain after the pod has been scheduled.
func waitingForNode(pod *corev1.Pod) (corev1.PodCondition, bool) {
	c := condition(pod, corev1.PodScheduled)
	return c, c.Status == corev1.ConditionFalse && pod.Spec.NodeName == ""
}

// unschedulable finds out why no node accepts the pod.
func unschedulable(o Observation) (Finding, bool) {
	c, waiting := waitingForNode(o.Pod)
	if !waiting {
		return none()
	}
	switch c.Reason {
	case corev1.PodReasonSchedulingGated:
		return progressing("SchedulingGated", "A scheduling gate of another controller holds the pod back", "The pod starts when that controller, often a queue, removes the gate; if that takes long, ask your administrator")
	case corev1.PodReasonSchedulerError:
		return degraded("SchedulerError", "The scheduler failed: "+innermost(c.Message), "It retries automatically; if this persists, ask your administrator")
	case corev1.PodReasonUnschedulable:
	default:
		return none()
	}
	if strings.Contains(c.Message, unboundClaims) {
		return none() // claimPending is more specific
	}
	if addedNode, wait := scaleUp(o); addedNode {
		f, found := progressing("Unschedulable", "No node has room; a new one is being added", "Wait a few minutes")
		f.Recheck = wait
		return f, found
	}
	lead, advice := explainNodes(c.Message)
	return degraded("Unschedulable", lead+": "+nodeFacts(c.Message), advice)
}

// nodeFacts keeps what the scheduler reports about the nodes and drops what it reports about preemption
// (pkg/scheduler/framework/types.go, FitError.Error: "0/X nodes are available: <PreFilter>. <Filter>. <PostFilter>").
func nodeFacts(message string) string {
	for _, postFilter := range []string{"no new claims to deallocate", "still not schedulable", "pod group preemption: ", "preemption: "} {
		message, _, _ = strings.Cut(message, postFilter)
	}
	return message
}

// explainNodes classifies the reasons that the scheduler's plugins (pkg/scheduler/framework/plugins) give for rejecting nodes.
func explainNodes(message string) (lead, advice string) {
	facts := nodeFacts(message)
	mentions := func(marks ...string) bool {
		return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(facts, mark) })
	}
	// noderesources/fit.go
	room := mentions("Insufficient ", "Too many pods")
	// volumebinding/binder.go, volumezone/volume_zone.go, nodevolumelimits/csi.go, volumerestrictions/volume_restrictions.go
	volume := mentions("PersistentVolume's node affinity", "volume node affinity conflict", "no available volume zone",
		"available persistent volumes to bind", "enough free storage", "exceed max volume count", "ReadWriteOncePod",
		"non-existent pv(s)", "no available disk")
	// nodeaffinity, interpodaffinity, podtopologyspread, nodename, nodeports
	placement := mentions("Pod's node affinity/selector", "pod affinity", "anti-affinity", "topology spread",
		"requested node name", "free ports")
	// tainttoleration/taint_toleration.go
	tainted := mentions("untolerated taint")
	// nodeunschedulable/node_unschedulable.go, and the taints that Kubernetes itself sets.
	cordoned := mentions("were unschedulable", "node.kubernetes.io/")

	switch {
	case volume && mentions("ReadWriteOncePod"):
		return "Another pod uses the volume", "Stop that pod, or give each server its own volume in spec.storage"
	case volume:
		return "No suitable node can attach the volume (it may be in another zone)", "Relax spec.scheduling and spec.jupyterServer.resources, or ask your administrator for a node that can attach it"
	case room && (placement || tainted):
		return "No node that accepts the pod has room", "Lower spec.jupyterServer.resources, change spec.scheduling, or ask your administrator for a node"
	case room:
		return "No node has room", "Lower spec.jupyterServer.resources, or ask your administrator for a larger node"
	case cordoned && !placement:
		return "No node accepts new pods at the moment", "Ask your administrator about the nodes"
	case placement || tainted:
		return "No node accepts the pod", "Correct spec.scheduling (nodeSelector, affinity, tolerations), or ask your administrator for a suitable node"
	}
	return "No node accepts the pod", "Check spec.scheduling, or ask your administrator"
}

// scaleUp reports whether an autoscaler is adding a node, and for how long that is assumed. TriggeredScaleUp is the event of the
// Kubernetes cluster autoscaler, Nominated is Karpenter's.
func scaleUp(o Observation) (bool, time.Duration) {
	const longest = 10 * time.Minute
	last, found := newest(podEvents(o, "TriggeredScaleUp", "Nominated"))
	if !found {
		return false, 0
	}
	wait := lastSeen(last).Add(longest).Sub(o.Now)
	return wait > 0, wait
}

// notScheduled finds a pod that no scheduler has processed.
func notScheduled(o Observation) (Finding, bool) {
	if o.Pod.Spec.NodeName != "" || conditionStatus(o.Pod, corev1.PodScheduled) == corev1.ConditionTrue {
		return none()
	}
	if wait := o.Pod.CreationTimestamp.Add(stepTimeout).Sub(o.Now); wait > 0 {
		f, found := progressing("Starting", "The pod is waiting for a node", "")
		f.Recheck = wait
		return f, found
	}
	if name := o.Pod.Spec.SchedulerName; name != "" && name != corev1.DefaultSchedulerName {
		return degraded("Unschedulable", "The scheduler "+quote(name)+" has not placed the pod", "Correct spec.scheduling.schedulerName, or ask your administrator whether that scheduler is running")
	}
	return degraded("Unschedulable", "The scheduler has not placed the pod yet", "Ask your administrator whether the scheduler is running")
}
