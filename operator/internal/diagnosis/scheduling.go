// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// waitingForNode says that the scheduler refuses the pod now, and why. The condition is used and not the events
// FailedScheduling, which stay after the pod has got its node.
func waitingForNode(pod *corev1.Pod) (corev1.PodCondition, bool) {
	c := condition(pod, corev1.PodScheduled)
	return c, c.Status == corev1.ConditionFalse && pod.Spec.NodeName == ""
}

// unschedulable finds why no node takes the pod.
func unschedulable(o Observation) (Finding, bool) {
	c, waiting := waitingForNode(o.Pod)
	if !waiting {
		return none()
	}
	switch c.Reason {
	case corev1.PodReasonSchedulingGated:
		return progressing("SchedulingGated", "Another program holds the pod back with a scheduling gate", "It starts when that program, often a queue, lets it go; ask the admin if that takes long")
	case corev1.PodReasonSchedulerError:
		return degraded("SchedulerError", "The scheduler failed: "+innermost(c.Message), "It tries again by itself; ask the admin if that goes on")
	case corev1.PodReasonUnschedulable:
	default:
		return none()
	}
	if strings.Contains(c.Message, unboundClaims) {
		return none() // claimPending says it better
	}
	if addedNode, wait := nodeComing(o); addedNode {
		f, found := progressing("Unschedulable", "No node has room, and a new one is being added", "Wait some minutes")
		f.Recheck = wait
		return f, found
	}
	lead, advice := judgeNodes(c.Message)
	return degraded("Unschedulable", lead+": "+nodesFacts(c.Message), advice)
}

// nodesFacts keeps what the scheduler says about the nodes and drops what it says about preemption
// (pkg/scheduler/framework/types.go, FitError.Error: "0/X nodes are available: <PreFilter>. <Filter>. <PostFilter>").
func nodesFacts(message string) string {
	for _, postFilter := range []string{"no new claims to deallocate", "still not schedulable", "pod group preemption: ", "preemption: "} {
		message, _, _ = strings.Cut(message, postFilter)
	}
	return message
}

// judgeNodes groups the reasons that the scheduler's plugins (pkg/scheduler/framework/plugins) give for the nodes.
func judgeNodes(message string) (lead, advice string) {
	facts := nodesFacts(message)
	says := func(marks ...string) bool {
		return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(facts, mark) })
	}
	// noderesources/fit.go
	room := says("Insufficient ", "Too many pods")
	// volumebinding/binder.go, volumezone/volume_zone.go, nodevolumelimits/csi.go, volumerestrictions/volume_restrictions.go
	volume := says("PersistentVolume's node affinity", "volume node affinity conflict", "no available volume zone",
		"available persistent volumes to bind", "enough free storage", "exceed max volume count", "ReadWriteOncePod",
		"non-existent pv(s)", "no available disk")
	// nodeaffinity, interpodaffinity, podtopologyspread, nodename, nodeports
	placement := says("Pod's node affinity/selector", "pod affinity", "anti-affinity", "topology spread",
		"requested node name", "free ports")
	// tainttoleration/taint_toleration.go
	tainted := says("untolerated taint")
	// nodeunschedulable/node_unschedulable.go, and the taints that Kubernetes itself sets
	cordoned := says("were unschedulable", "node.kubernetes.io/")

	switch {
	case volume && says("ReadWriteOncePod"):
		return "Another pod uses the volume", "Stop that pod, or give each server a volume of its own in spec.storage"
	case volume:
		return "No node that can take the pod reaches its volume", "Loosen spec.scheduling and spec.jupyterServer.resources, or ask the admin about nodes where the volume is"
	case room && (placement || tainted):
		return "No node has room that also takes the pod", "Ask for less in spec.jupyterServer.resources, change spec.scheduling, or ask the admin for a node"
	case room:
		return "No node has room", "Ask for less in spec.jupyterServer.resources, or ask the admin for a larger node"
	case cordoned && !placement:
		return "No node takes new pods now", "Ask the admin about the nodes"
	case placement || tainted:
		return "No node takes the pod", "Correct spec.scheduling (nodeSelector, affinity, tolerations), or ask the admin for a fitting node"
	}
	return "No node takes the pod", "Check spec.scheduling, or ask the admin"
}

// nodeComing says that an autoscaler is adding a node, and for how long that is believed. TriggeredScaleUp is the
// Kubernetes cluster autoscaler's event, Nominated is Karpenter's.
func nodeComing(o Observation) (bool, time.Duration) {
	const longest = 10 * time.Minute
	last, found := newest(podEvents(o, "TriggeredScaleUp", "Nominated"))
	if !found {
		return false, 0
	}
	wait := lastSeen(last).Add(longest).Sub(o.Now)
	return wait > 0, wait
}

// notScheduled finds a pod that no scheduler has looked at.
func notScheduled(o Observation) (Finding, bool) {
	if o.Pod.Spec.NodeName != "" || conditionStatus(o.Pod, corev1.PodScheduled) == corev1.ConditionTrue {
		return none()
	}
	if wait := o.Pod.CreationTimestamp.Add(patience).Sub(o.Now); wait > 0 {
		f, found := progressing("Starting", "The pod waits for a node", "")
		f.Recheck = wait
		return f, found
	}
	if name := o.Pod.Spec.SchedulerName; name != "" && name != corev1.DefaultSchedulerName {
		return degraded("Unschedulable", "The scheduler "+quote(name)+" has not found a node for the pod", "Correct spec.scheduling.schedulerName, or ask the admin whether that scheduler runs")
	}
	return degraded("Unschedulable", "The scheduler has not found a node for the pod yet", "Ask the admin whether the scheduler runs")
}
