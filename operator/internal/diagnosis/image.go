// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// imageNotPulled finds a container whose image is missing. Reasons: pkg/kubelet/images/types.go, cri-api/pkg/errors/errors.go.
func imageNotPulled(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		waiting := c.status.State.Waiting
		if waiting == nil {
			continue
		}
		image := clip(quote(c.image()), 120)
		switch waiting.Reason {
		case "InvalidImageName":
			return degraded(waiting.Reason, fmt.Sprintf("%s is not a valid image name%s", image, c.suffix()), "Correct "+c.imageField())
		case "ErrImageNeverPull":
			return degraded(waiting.Reason, fmt.Sprintf("The image %s%s is not on the node %s, and the pull policy is Never", image, c.suffix(), nodeName(o.Pod)), "Set imagePullPolicy to IfNotPresent next to "+c.imageField())
		case "ImageInspectError":
			return degraded(waiting.Reason, fmt.Sprintf("The node %s cannot read the image %s%s", nodeName(o.Pod), image, c.suffix()), "Ask your administrator about the node")
		case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed":
			lead, advice := explainPull(o, c, pullError(o, c))
			// The kubelet alternates between the error and the back-off; using one reason for both keeps conditions stable.
			return degraded("ImagePullBackOff", fmt.Sprintf("The image %s%s cannot be pulled: %s", image, c.suffix(), lead), advice)
		}
	}
	return none()
}

// pullError returns the runtime's error. The back-off repeats it, unless the kubelet was restarted in between
// (pkg/kubelet/images/image_manager.go, pullImage).
func pullError(o Observation, c container) string {
	backOff := fmt.Sprintf("Back-off pulling image %q", c.image())
	if why := strings.TrimPrefix(strings.TrimPrefix(c.status.State.Waiting.Message, backOff), ": "); why != "" && !strings.HasPrefix(why, "Back-off pulling image") {
		return why
	}
	events := podEvents(o, "Failed")
	for _, e := range slices.Backward(events) {
		if strings.Contains(e.Message, "Failed to pull image") && strings.Contains(e.Message, c.image()) {
			return e.Message
		}
	}
	return ""
}

type pullFailure struct {
	marks        []string
	lead, advice string
}

// pullFailures are the causes in messages of containerd, CRI-O and registries, the more specific ones first. %s in an advice is
// the field of the image.
var pullFailures = []pullFailure{
	{[]string{"no space left on device"}, "the node's disk is full", "Ask your administrator about the node, or use a smaller image"},
	{[]string{"toomanyrequests", "too many requests", "rate limit"}, "the registry's pull rate limit is reached", "Wait, or authenticate with spec.jupyterServer.imagePullSecrets"},
	{[]string{"no such host", "server misbehaving", "name resolution"}, "the registry's host name does not resolve", "Correct %s"},
	{[]string{"no match for platform", "no matching manifest", "no image found in image index", "no image found in manifest list"}, "there is no image for the node's CPU architecture", "Use an image for that architecture in %s, or select nodes with spec.scheduling.nodeSelector"},
	{[]string{"x509:", "certificate"}, "the node does not trust the registry's certificate", "Ask your administrator to make the nodes trust it"},
	{[]string{"server gave http response to https client"}, "the registry serves plain HTTP", "Ask your administrator to allow that on the nodes, or use another registry in %s"},
	{[]string{"signature validation failed"}, "its signature was rejected", "Use a signed image in %s, or ask your administrator"},
	{[]string{"repository does not exist or may require"}, "there is no such repository, or it is private", "Correct %s, or add a Secret for the registry to spec.jupyterServer.imagePullSecrets"},
	{[]string{"unauthorized", "forbidden", "denied", "authentication required", "authorization failed", "no basic auth credentials", "insufficient_scope"}, "the registry denies access", "Add a Secret for the registry to spec.jupyterServer.imagePullSecrets, or correct %s"},
	{[]string{"not found", "manifest unknown", "name unknown", "manifest_unknown", "name_unknown"}, "there is no such image or tag", "Correct %s"},
	{[]string{"connection refused", "no route to host", "network is unreachable"}, "the registry cannot be reached", "Check the host in %s, or ask your administrator about the network"},
	{[]string{"timeout", "deadline exceeded", "timed out"}, "the registry does not respond in time", "It is retried; check the host in %s, or ask your administrator about the network"},
	{[]string{"connection reset", "unexpected eof", ": eof", "registry is unavailable", "internal server error", "bad gateway", "service unavailable"}, "the registry failed", "It is retried; if this persists, ask the registry's administrator"},
}

// explainPull classifies a registry's error.
func explainPull(o Observation, c container, why string) (lead, advice string) {
	// The name of an image may contain any of the marks.
	text := strings.ToLower(strings.ReplaceAll(why, c.image(), ""))
	for _, failure := range pullFailures {
		for _, mark := range failure.marks {
			if !strings.Contains(text, mark) {
				continue
			}
			if missing := missingPullSecret(o); missing != "" && strings.Contains(failure.advice, "imagePullSecrets") {
				return failure.lead + ", and the pull secret " + missing + " does not exist",
					"Create that Secret, or correct spec.jupyterServer.imagePullSecrets"
			}
			return failure.lead, strings.ReplaceAll(failure.advice, "%s", c.imageField())
		}
	}
	return cmp.Or(innermost(why), "the node reports no cause"), "Check " + c.imageField() + ", or ask your administrator"
}

// missingPullSecret returns the pull secrets that the kubelet does not find (pkg/kubelet/kubelet.go, SyncPod).
func missingPullSecret(o Observation) string {
	last, found := newest(podEvents(o, "FailedToRetrieveImagePullSecret"))
	if !found || len(o.Pod.Spec.ImagePullSecrets) == 0 || o.Now.Sub(lastSeen(last)) > 2*retryPeriod {
		return ""
	}
	return clip(between(last.Message, "image pull secrets (", ")"), 60)
}

// pulling reports whether the node is currently pulling the image (pkg/kubelet/images/image_manager.go).
func pulling(o Observation, c container) bool {
	last, found := newest(containerEvents(o, c, "Pulling", "Pulled", "Failed", "BackOff"))
	return found && last.Reason == "Pulling"
}

// containerEvents returns the pod's events about one container, which the kubelet names in the field path.
func containerEvents(o Observation, c container, reasons ...string) []corev1.Event {
	var found []corev1.Event
	for _, e := range podEvents(o, reasons...) {
		if strings.HasSuffix(e.InvolvedObject.FieldPath, "{"+c.status.Name+"}") {
			found = append(found, e)
		}
	}
	return found
}
