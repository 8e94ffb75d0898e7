// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// container is one container of the pod: its spec and its status.
type container struct {
	spec   corev1.Container // empty if the spec has no container of that name
	status corev1.ContainerStatus
	init   bool
}

// containers returns the containers in the order in which they block each other: init containers as listed, then Jupyter, then
// the others.
func containers(pod *corev1.Pod) []container {
	var all []container
	add := func(specs []corev1.Container, statuses []corev1.ContainerStatus, init bool) {
		for _, s := range specs {
			i := slices.IndexFunc(statuses, func(status corev1.ContainerStatus) bool { return status.Name == s.Name })
			if i >= 0 {
				all = append(all, container{spec: s, status: statuses[i], init: init})
			}
		}
	}
	add(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, true)
	add(pod.Spec.Containers, pod.Status.ContainerStatuses, false)
	slices.SortStableFunc(all, func(a, b container) int { return cmp.Compare(a.rank(), b.rank()) })
	return all
}

func (c container) rank() int {
	switch {
	case c.init:
		return 0
	case c.isJupyter():
		return 1
	}
	return 2
}

func (c container) isJupyter() bool {
	return !c.init && c.status.Name == JupyterContainer
}

// name returns the container as the subject of a sentence.
func (c container) name() string {
	switch {
	case c.isJupyter():
		return "Jupyter"
	case c.isAccess():
		return "The access control (" + quote(c.status.Name) + ")"
	case c.init:
		return "The init container " + quote(c.status.Name)
	}
	return "The container " + quote(c.status.Name)
}

// suffix names a container other than Jupyter's after a noun.
func (c container) suffix() string {
	if c.isJupyter() {
		return ""
	}
	return " (container " + quote(c.status.Name) + ")"
}

// image returns the image of the spec. The status may have another name for it.
func (c container) image() string {
	return cmp.Or(c.spec.Image, c.status.Image)
}

// field returns the part of the JupyterServer or of the configuration that defines the container.
func (c container) field() string {
	switch {
	case c.isJupyter():
		return "spec.jupyterServer"
	case c.isAccess():
		return "the section access of the operator's configuration (set by your administrator)"
	case c.init:
		return "spec.pod.initContainers"
	}
	return "spec.pod.containers"
}

func (c container) imageField() string {
	if c.isJupyter() {
		return "spec.jupyterServer.image"
	}
	return "its image in " + c.field()
}

// resource returns the field of one of the container's resources.
func (c container) resource(name string) string {
	switch {
	case c.isJupyter():
		return "spec.jupyterServer.resources." + name
	case c.isAccess():
		return "resources." + name + " of " + quote(c.status.Name) + " in spec.patches, or ask your administrator"
	}
	return "resources." + name + " in " + c.field()
}

// lastTermination returns how the container ended: just now, or before its restart.
func (c container) lastTermination() *corev1.ContainerStateTerminated {
	if c.status.State.Terminated != nil {
		return c.status.State.Terminated
	}
	return c.status.LastTerminationState.Terminated
}

// done reports whether the container needs no explanation: it is ready, or is an init container that succeeded.
func (c container) done() bool {
	end := c.status.State.Terminated
	return c.status.Ready || c.init && end != nil && end.ExitCode == 0
}

// badConfiguration finds a container that cannot be created from its configuration
// (pkg/kubelet/kuberuntime/kuberuntime_container.go).
func badConfiguration(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		w := c.status.State.Waiting
		if w == nil || w.Reason != "CreateContainerConfigError" && w.Reason != "CreateContainerError" && w.Reason != "PreCreateHookError" {
			continue
		}
		if f, found := commandMissing(c, w.Message); found {
			return f, true
		}
		fact, advice := explainConfiguration(o.Pod, c, plain(w.Message))
		return degraded(w.Reason, fact, advice)
	}
	return none()
}

// explainConfiguration interprets messages of pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables) and
// pkg/kubelet/kuberuntime/security_context_others.go (verifyRunAsNonRoot).
func explainConfiguration(pod *corev1.Pod, c container, why string) (fact, advice string) {
	switch {
	case strings.HasPrefix(why, "secret \"") && strings.Contains(why, "not found"):
		name := between(why, "secret \"", "\"")
		return fmt.Sprintf("The Secret %s does not exist, but %s uses it", name, lower(c.name())), "Create it, or correct " + envField(c, name)
	case strings.HasPrefix(why, "configmap \"") && strings.Contains(why, "not found"):
		name := between(why, "configmap \"", "\"")
		return fmt.Sprintf("The ConfigMap %s does not exist, but %s uses it", name, lower(c.name())), "Create it, or correct " + envField(c, "")
	case strings.HasPrefix(why, "couldn't find key "):
		key, in, _ := strings.Cut(strings.TrimPrefix(why, "couldn't find key "), " in ")
		kind, path, _ := strings.Cut(in, " ")
		name := quote(strings.TrimPrefix(path, pod.Namespace+"/"))
		return fmt.Sprintf("The %s %s has no key %s, but %s uses it", quote(kind), name, quote(key), lower(c.name())), "Add the key, or correct " + envField(c, name)
	case strings.Contains(why, "image will run as root"):
		return c.name() + " must not run as root, but its image does", "Use an image with another user, or set spec.pod.securityContext.runAsUser"
	case strings.Contains(why, "image has non-numeric user"):
		return fmt.Sprintf("%s must not run as root, but its image sets a user name (%s) instead of a number, so this cannot be verified", c.name(), between(why, "non-numeric user (", ")")), "Set spec.pod.securityContext.runAsUser to the user's number, such as 1000"
	case strings.Contains(why, "no command specified"):
		return fmt.Sprintf("The image of %s has no command to run", lower(c.name())), "Correct " + c.imageField()
	}
	return fmt.Sprintf("%s cannot be created: %s", c.name(), why), "Correct " + c.field()
}

// envField returns the field that refers to a Secret.
func envField(c container, secret string) string {
	if !c.isJupyter() {
		return "env in " + c.field()
	}
	if token := tokenOf(c.spec.Env); len(token) > 0 && token[0].ValueFrom.SecretKeyRef.Name == secret {
		return "spec.auth.token.secretKeyRef"
	}
	return "spec.jupyterServer.env or envFrom"
}

// notStarted finds a container whose program could not be started. containerd reports StartError and exit code 128, others
// ContainerCannotRun; the kubelet reports RunContainerError between attempts (pkg/kubelet/container/sync_result.go).
func notStarted(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		var why string
		w, end := c.status.State.Waiting, c.lastTermination()
		switch {
		case c.done():
			continue
		case end != nil && startFailed(end):
			why = end.Message
		case w != nil && (w.Reason == "RunContainerError" || w.Reason == "StartError" || w.Reason == "PreStartHookError" || w.Reason == "PostStartHookError"):
			why = w.Message
		default:
			continue
		}
		if f, found := commandMissing(c, why); found {
			return f, true
		}
		return degraded("StartError", fmt.Sprintf("%s cannot be started: %s", c.name(), innermost(why)), fmt.Sprintf("Correct %s, or ask your administrator", c.field()))
	}
	return none()
}

func startFailed(end *corev1.ContainerStateTerminated) bool {
	return end.Reason == "StartError" || end.Reason == "ContainerCannotRun"
}

// commandMissing interprets the errors of runc and crun when the program cannot be run.
func commandMissing(c container, why string) (Finding, bool) {
	image := clip(quote(c.image()), 100)
	switch {
	case strings.Contains(why, "exec format error"):
		return degraded("StartError", fmt.Sprintf("The image %s%s is built for another CPU architecture than the node's", image, c.suffix()), "Use another image in "+c.imageField()+", or select nodes with spec.scheduling.nodeSelector")
	case !strings.Contains(why, "executable file not found in $PATH") && !strings.Contains(why, "executable file `") &&
		!(strings.Contains(why, "exec: \"") && strings.Contains(why, "no such file or directory")):
		return none()
	case c.isJupyter():
		return degraded("StartError", fmt.Sprintf("The image %s has no executable jupyter on its PATH", image), "Use an image with Jupyter Server in spec.jupyterServer.image")
	}
	return degraded("StartError", fmt.Sprintf("The image %s%s does not contain the program to start", image, c.suffix()), "Correct the command or the image in "+c.field())
}

// outOfMemory finds a container that was killed for lack of memory and has not recovered.
func outOfMemory(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		end := c.lastTermination()
		if c.done() || end == nil || end.Reason != "OOMKilled" {
			continue
		}
		limit, limited := c.spec.Resources.Limits[corev1.ResourceMemory]
		if !limited {
			return degraded("OOMKilled", c.name()+" was killed because its node ran out of memory", "Set "+c.resource("requests.memory")+" to the amount it needs")
		}
		advice := "Increase " + c.resource("limits.memory")
		if c.isJupyter() {
			advice += ", or load less data in the notebooks"
		}
		return degraded("OOMKilled", fmt.Sprintf("%s was killed because it used more memory than its limit of %s", c.name(), limit.String()), advice)
	}
	return none()
}

// probeKilled finds a container that was stopped because it did not respond
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go, computePodActions).
func probeKilled(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		end := c.lastTermination()
		if c.done() || end == nil {
			continue
		}
		kills := slices.DeleteFunc(containerEvents(o, c, "Killing"), func(e corev1.Event) bool {
			return !strings.Contains(e.Message, "failed startup probe") && !strings.Contains(e.Message, "failed liveness probe") ||
				lastSeen(e).Before(end.StartedAt.Time) // an earlier run
		})
		if len(kills) == 0 {
			continue
		}
		fact := c.name() + " was stopped because it did not respond" + at(c.spec.StartupProbe, c.spec.LivenessProbe) + " in time"
		if line := lastLine(end.Message); line != "" {
			fact += "; its last output: " + line
		}
		return degraded("Unhealthy", fact, "Correct what slows down or breaks its start in "+c.field())
	}
	return none()
}

// crash finds the first container that exited and has not recovered. It skips what notStarted and outOfMemory explain: the log has
// no details about that.
func crash(pod *corev1.Pod) (container, *corev1.ContainerStateTerminated, bool) {
	for _, c := range containers(pod) {
		end, w := c.lastTermination(), c.status.State.Waiting
		if c.done() || end == nil || end.Reason == "OOMKilled" || startFailed(end) {
			continue
		}
		looping := w != nil && w.Reason == "CrashLoopBackOff"
		// A restarted node lost the container, which did not crash (pkg/kubelet/container/runtime.go).
		lost := end.Reason == "ContainerStatusUnknown" || end.Reason == "Unknown"
		if looping || !lost && end.ExitCode != 0 {
			return c, end, true
		}
	}
	return container{}, nil, false
}

// crashed finds a container that exited, with its last output.
func crashed(o Observation) (Finding, bool) {
	c, end, found := crash(o.Pod)
	if !found {
		return none()
	}
	// The end of the log, with terminationMessagePolicy FallbackToLogsOnError, so that no log has to be read.
	line := lastLine(end.Message)
	if strings.Contains(line, "exec format error") {
		return commandMissing(c, line)
	}
	fact := fmt.Sprintf("%s stopped with exit code %d", c.name(), end.ExitCode)
	if line != "" {
		fact += "; its last output: " + line
	}
	switch {
	case c.isJupyter() && (end.ExitCode == 127 || end.ExitCode == 126):
		return degraded("CrashLoopBackOff", fact, "The image must have jupyter on its PATH: correct spec.jupyterServer.image")
	case end.ExitCode == 137:
		return degraded("CrashLoopBackOff", fact, "It was killed, often for lack of memory: increase "+c.resource("limits.memory"))
	case c.isJupyter():
		return degraded("CrashLoopBackOff", fact, "Correct spec.jupyterServer (image, env, extraArgs); "+logHint(o.Pod, c))
	case c.isAccess():
		return degraded("CrashLoopBackOff", fact, "Correct spec.auth.oidc, or ask your administrator; "+logHint(o.Pod, c))
	}
	return degraded("CrashLoopBackOff", fact, "Correct "+c.field()+"; "+logHint(o.Pod, c))
}

func logHint(pod *corev1.Pod, c container) string {
	return fmt.Sprintf("see kubectl logs %s -c %s -p", quote(pod.Name), quote(c.status.Name))
}

// unhealthy finds a container that is running but has not responded for long.
func unhealthy(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		running := c.status.State.Running
		if c.done() || running == nil || o.Now.Sub(silentSince(o.Pod, c)) < stepTimeout {
			continue
		}
		fact := c.name() + " is running, but does not respond" + at(c.spec.StartupProbe, c.spec.ReadinessProbe)
		if e, found := newest(containerEvents(o, c, "Unhealthy")); found && !lastSeen(e).Before(running.StartedAt.Time) {
			fact += probeOutput(e.Message)
		}
		started := c.status.Started != nil && *c.status.Started
		switch {
		case c.init:
			if c.spec.RestartPolicy == nil || *c.spec.RestartPolicy != corev1.ContainerRestartPolicyAlways {
				continue // it runs to completion: starting reports it
			}
		case c.isJupyter() && started:
			return degraded("Unhealthy", fact, "A notebook may keep it busy: wait, or restart it by deleting the pod "+quote(o.Pod.Name))
		}
		return degraded("Unhealthy", fact, fmt.Sprintf("See kubectl logs %s -c %s", quote(o.Pod.Name), quote(c.status.Name)))
	}
	return none()
}

// silentSince returns the time since which a running container has not been ready.
func silentSince(pod *corev1.Pod, c container) time.Time {
	since := c.status.State.Running.StartedAt.Time
	if t := condition(pod, corev1.ContainersReady).LastTransitionTime.Time; t.After(since) {
		return t
	}
	return since
}

// at returns the path at which a probe expects a response.
func at(probes ...*corev1.Probe) string {
	for _, p := range probes {
		if p != nil && p.HTTPGet != nil {
			return " at " + quote(p.HTTPGet.Path)
		}
	}
	return ""
}

// probeOutput summarizes why a probe failed (pkg/probe/http/http.go, pkg/kubelet/prober/prober.go).
func probeOutput(message string) string {
	switch {
	case strings.Contains(message, "connection refused"):
		return " (nothing listens there)"
	case strings.Contains(message, "HTTP probe failed with statuscode: "):
		_, code, _ := strings.Cut(message, "statuscode: ")
		return " as expected (HTTP status " + clip(quote(code), 20) + ")"
	case strings.Contains(message, "deadline exceeded"), strings.Contains(message, "Client.Timeout"):
		return " in time"
	}
	return ""
}

// starting applies if every step so far succeeded. It names the current step.
func starting(o Observation) (Finding, bool) {
	for _, c := range containers(o.Pod) {
		if c.done() {
			continue
		}
		if c.status.State.Waiting != nil && pulling(o, c) {
			return progressing("Starting", fmt.Sprintf("The image %s%s is being pulled", clip(quote(c.image()), 120), c.suffix()), "The first pull takes a few minutes")
		}
		running := c.status.State.Running
		switch {
		case running == nil:
			continue
		case c.init && (c.spec.RestartPolicy == nil || *c.spec.RestartPolicy != corev1.ContainerRestartPolicyAlways):
			return progressing("Starting", c.name()+" is running; Jupyter starts after it", "")
		}
		f, found := progressing("Starting", c.name()+" is running, but has not responded yet", "")
		f.Recheck = max(time.Second, silentSince(o.Pod, c).Add(stepTimeout).Sub(o.Now))
		return f, found
	}
	if o.Pod.Spec.NodeName == "" {
		return progressing("Starting", "The pod is waiting for a node", "")
	}
	return progressing("Starting", "The pod is being set up on the node "+nodeName(o.Pod), "")
}

func lower(subject string) string {
	if rest, found := strings.CutPrefix(subject, "The "); found {
		return "the " + rest
	}
	return subject
}
