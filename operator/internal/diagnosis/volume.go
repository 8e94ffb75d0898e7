// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// unboundClaims is in the scheduler's message while a claim with immediate binding has no volume yet
// (pkg/scheduler/framework/plugins/volumebinding/volume_binding.go, PreFilter).
const unboundClaims = "pod has unbound immediate PersistentVolumeClaims"

// claimMissing finds a claim that does not exist, is being deleted or has lost its volume, from the claim itself or from the
// scheduler's message (pkg/scheduler/framework/plugins/volumebinding/volume_binding.go, podHasPVCs).
func claimMissing(o Observation) (Finding, bool) {
	if o.Claim != nil && o.Claim.Status.Phase == corev1.ClaimLost {
		return degraded("ClaimLost", fmt.Sprintf("The volume of the claim %s is gone, and the files on it are lost", quote(o.Claim.Name)), "Ask your administrator about the volume, or delete the claim to start with an empty one")
	}
	c, waiting := waitingForNode(o.Pod)
	if !waiting {
		return none()
	}
	_, rest, found := strings.Cut(c.Message, "persistentvolumeclaim \"")
	name, state, closed := strings.Cut(rest, "\" ")
	if !found || !closed {
		return none()
	}
	name = quote(name)
	switch {
	case strings.HasPrefix(state, "not found"):
		if o.StatefulSet != nil && name == o.StatefulSet.Name {
			return degraded("ClaimNotFound", fmt.Sprintf("The server's claim %s does not exist", name), "The operator recreates it; if that takes long, ask your administrator")
		}
		return degraded("ClaimNotFound", fmt.Sprintf("The claim %s does not exist", name), "Create it, or correct spec.storage.existingClaim (or spec.pod.volumes)")
	case strings.HasPrefix(state, "is being deleted"):
		return degraded("ClaimTerminating", fmt.Sprintf("The claim %s is being deleted", name), "Wait until it is deleted; the operator then recreates the server's own claim, any other claim you have to recreate yourself")
	case strings.HasPrefix(state, "bound to non-existent"):
		return degraded("ClaimLost", fmt.Sprintf("The volume of the claim %s is gone, and the files on it are lost", name), "Ask your administrator about the volume, or delete the claim to start with an empty one")
	}
	return none()
}

// claimFailed finds out why a claim gets no volume (pkg/controller/volume/persistentvolume/pv_controller.go; external provisioners
// record ProvisioningFailed, too).
func claimFailed(o Observation) (Finding, bool) {
	if o.Claim == nil || o.Claim.Status.Phase != corev1.ClaimPending {
		return none()
	}
	last, found := newest(eventsOf(o, o.Claim.UID, "ProvisioningFailed", "ProvisioningSucceeded"))
	if found && last.Reason == "ProvisioningSucceeded" {
		return none()
	}
	name, class := quote(o.Claim.Name), storageClass(o.Claim)
	const choose = "Set another spec.storage.storageClassName in a new server, or ask your administrator"
	why := last.Message
	switch {
	// client-go lister: storageclass.storage.k8s.io "fast" not found
	case found && strings.Contains(why, "storageclass") && strings.Contains(why, "not found"):
		return degraded("ProvisioningFailed", fmt.Sprintf("The storage class %s of the claim %s does not exist", class, name), choose)
	case found && strings.Contains(why, "exceeded quota"):
		return degraded("ProvisioningFailed", fmt.Sprintf("The volume for the claim %s exceeds a quota: %s", name, innermost(why)), "Use a smaller spec.storage.size in a new server, or ask your administrator")
	case found:
		return degraded("ProvisioningFailed", fmt.Sprintf("No volume could be created for the claim %s: %s", name, innermost(why)), "It is retried; check spec.storage.size and storageClassName, or ask your administrator")
	}
	last, found = newest(eventsOf(o, o.Claim.UID, "FailedBinding", "VolumeMismatch", "ExternalProvisioning", "WaitForFirstConsumer", "WaitForPodScheduled"))
	switch {
	case !found:
		return none()
	case strings.Contains(last.Message, "no storage class is set"):
		return degraded("ClaimPending", fmt.Sprintf("The claim %s sets no storage class, and the cluster has no default one", name), "Set spec.storage.storageClassName in a new server, set spec.storage.ephemeral, or ask your administrator for a default class")
	case last.Reason == "FailedBinding", last.Reason == "VolumeMismatch":
		return degraded("ClaimPending", fmt.Sprintf("The claim %s cannot be bound to its volume: %s", name, plain(last.Message)), "Correct the claim, or ask your administrator")
	}
	return none()
}

// claimPending finds a claim that waits for its volume without an error. Waiting for the pod to be scheduled (volumeBindingMode
// WaitForFirstConsumer) is normal.
func claimPending(o Observation) (Finding, bool) {
	c, waiting := waitingForNode(o.Pod)
	blocked := waiting && strings.Contains(c.Message, unboundClaims)
	if o.Claim == nil {
		if blocked {
			return degraded("ClaimPending", "A claim of the pod has no volume yet", "Check its storage class with kubectl describe pvc, or ask your administrator")
		}
		return none()
	}
	last, found := newest(eventsOf(o, o.Claim.UID, "ExternalProvisioning", "Provisioning"))
	if o.Claim.Status.Phase != corev1.ClaimPending || !blocked && !found {
		return none()
	}
	since := o.Claim.CreationTimestamp.Time
	if found && firstSeen(last).After(since) {
		since = firstSeen(last)
	}
	name := quote(o.Claim.Name)
	if wait := since.Add(stepTimeout).Sub(o.Now); wait > 0 {
		f, found := progressing("ClaimPending", fmt.Sprintf("The volume for the claim %s is being created", name), "")
		f.Recheck = wait
		return f, found
	}
	return degraded("ClaimPending", fmt.Sprintf("The claim %s still has no volume from the storage class %s", name, storageClass(o.Claim)), "Ask your administrator whether the provisioner of that class is running")
}

func storageClass(claim *corev1.PersistentVolumeClaim) string {
	if name := claim.Spec.StorageClassName; name != nil && *name != "" {
		return quote(*name)
	}
	return "(none)"
}

// setupFailed finds out why the node cannot prepare the pod: first its volumes, then its sandbox, which is its network.
func setupFailed(o Observation) (Finding, bool) {
	if !inSetup(o.Pod) {
		return none()
	}
	last, found := newest(podEvents(o, append(volumeReasons(), sandboxReasons()...)...))
	if !found {
		return none()
	}
	if slices.Contains(sandboxReasons(), last.Reason) {
		return degraded("FailedCreatePodSandBox", fmt.Sprintf("The node %s cannot prepare the pod: %s", nodeName(o.Pod), innermost(last.Message)), "It is retried; if this persists, ask your administrator about the node")
	}
	return volumeFailed(o)
}

// volumeReasons and sandboxReasons return reasons of pkg/kubelet/events/event.go.
func volumeReasons() []string {
	return []string{"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
}

func sandboxReasons() []string {
	return []string{"FailedCreatePodSandBox", "NetworkNotReady", "FailedPrepareDynamicResources"}
}

// inSetup reports whether the pod has a node that has not started its containers yet.
func inSetup(pod *corev1.Pod) bool {
	if conditionStatus(pod, corev1.PodScheduled) != corev1.ConditionTrue && pod.Spec.NodeName == "" {
		return false
	}
	if ready := conditionStatus(pod, corev1.PodReadyToStartContainers); ready == corev1.ConditionTrue || ready == corev1.ConditionFalse {
		return ready == corev1.ConditionFalse
	}
	for _, c := range containers(pod) {
		if c.status.State.Waiting == nil || c.status.LastTerminationState.Terminated != nil {
			return false
		}
	}
	return true
}

// volumeFailure returns the event of the volume that blocks the pod. Events that name the cause come before timeouts.
func volumeFailure(o Observation) (corev1.Event, bool) {
	var failures, timeouts []corev1.Event
	attached, _ := newest(podEvents(o, "SuccessfulAttachVolume"))
	for _, e := range podEvents(o, volumeReasons()...) {
		switch {
		case e.Reason == "FailedAttachVolume" && lastSeen(e).Before(lastSeen(attached)):
			continue // attached since
		// pkg/kubelet/volumemanager/volume_manager.go, WaitForAttachAndMount: the timeout without its cause.
		case strings.Contains(e.Message, "unmounted volumes="):
			timeouts = append(timeouts, e)
		default:
			failures = append(failures, e)
		}
	}
	if len(failures) == 0 {
		failures = timeouts
	}
	return oldestCurrent(failures)
}

// volumeFailed finds out why the volume that blocks the pod cannot be mounted.
func volumeFailed(o Observation) (Finding, bool) {
	e, found := volumeFailure(o)
	if !found {
		return none()
	}
	why := plain(e.Message)
	switch {
	// pkg/controller/volume/attachdetach/reconciler/reconciler.go; "Multi-Attach error" until Kubernetes 1.36
	case strings.Contains(why, "Volume is already used by"):
		_, users, _ := strings.Cut(why, "Volume is already used by ")
		return degraded(e.Reason, "The volume is in use on another node by "+users, "Stop the other pod, or give each server its own volume (spec.storage)")
	case strings.Contains(why, "already exclusively attached"), strings.Contains(why, "Multi-Attach error"):
		return degraded(e.Reason, "The volume is still attached to another node", "Wait: it is detached when the old pod is gone, or some minutes after its node is lost; otherwise ask your administrator about that node")
	case strings.Contains(why, "secret \"") && strings.Contains(why, "not found"):
		return degraded(e.Reason, fmt.Sprintf("The Secret %s, which the pod mounts, does not exist", between(why, "secret \"", "\"")), "Create it, or correct spec.pod.volumes")
	case strings.Contains(why, "configmap \"") && strings.Contains(why, "not found"):
		return degraded(e.Reason, fmt.Sprintf("The ConfigMap %s, which the pod mounts, does not exist", between(why, "configmap \"", "\"")), "Create it, or correct spec.pod.volumes")
	// pkg/volume/secret/secret.go, pkg/volume/configmap/configmap.go
	case strings.Contains(why, "references non-existent "):
		return degraded(e.Reason, "A Secret or ConfigMap that the pod mounts lacks a key: "+innermost(why), "Add the key, or correct spec.pod.volumes")
	case strings.Contains(why, "unmounted volumes="):
		return degraded(e.Reason, fmt.Sprintf("The volumes [%s] could not be mounted in time", between(why, "unmounted volumes=[", "]")), "It is retried; if this persists, ask your administrator about the storage")
	}
	return degraded(e.Reason, "A volume cannot be mounted: "+why, "It is retried; if this persists, ask your administrator about the storage")
}

// between returns the text between two marks, quoted.
func between(text, open, end string) string {
	_, rest, _ := strings.Cut(text, open)
	name, _, _ := strings.Cut(rest, end)
	return quote(name)
}
