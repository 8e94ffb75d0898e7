// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ago returns a time before now.
func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// change modifies the observation of a server whose pod has just been assigned to a node.
type change func(*Observation)

// observe returns an observation: StatefulSet alice, claim alice (bound), pod alice-0, ten minutes old, on node n1, with the
// container jupyter and the sidecar traefik, both still waiting.
func observe(changes ...change) Observation {
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	class := "fast"
	o := Observation{
		Now:         now,
		StatefulSet: &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "alice", UID: "set"}},
		Claim: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "alice", UID: "claim", CreationTimestamp: ago(10 * time.Minute)},
			Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: &class},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		},
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "alice-0", Namespace: "lab", UID: "pod", CreationTimestamp: ago(10 * time.Minute)},
			Spec: corev1.PodSpec{
				NodeName: "n1",
				Containers: []corev1.Container{
					{Name: "traefik", Image: "traefik:v3"},
					{Name: "jupyter", Image: "quay.io/j/nb:1",
						ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/alice/api"}}}},
				},
			},
			Status: corev1.PodStatus{
				Phase:      corev1.PodPending,
				Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{
					{Name: "traefik", State: waiting},
					{Name: "jupyter", State: waiting},
				},
			},
		},
	}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func withPod(edit func(*corev1.Pod)) change {
	return func(o *Observation) { edit(o.Pod) }
}

func withoutPod(o *Observation) { o.Pod = nil }

// withCondition sets a condition of the pod.
func withCondition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) change {
	return withPod(func(p *corev1.Pod) {
		p.Status.Conditions = slices.DeleteFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: ago(5 * time.Minute)})
	})
}

// unschedulablePod is a pod that the scheduler cannot place for the reason in message.
func unschedulablePod(message string) change {
	return func(o *Observation) {
		o.Pod.Spec.NodeName = ""
		o.Pod.Status.ContainerStatuses = nil
		withCondition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, message)(o)
	}
}

// status edits the status of one container of the pod.
func status(name string, edit func(*corev1.ContainerStatus)) change {
	return withPod(func(p *corev1.Pod) {
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range list {
				if list[i].Name == name {
					edit(&list[i])
				}
			}
		}
	})
}

func spec(name string, edit func(*corev1.Container)) change {
	return withPod(func(p *corev1.Pod) {
		for i := range p.Spec.Containers {
			if p.Spec.Containers[i].Name == name {
				edit(&p.Spec.Containers[i])
			}
		}
	})
}

func waits(name, reason, message string) change {
	return status(name, func(s *corev1.ContainerStatus) {
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	})
}

// ended is a container that exited and has not been restarted yet.
func ended(name, reason string, code int32, message string) change {
	return func(o *Observation) {
		waits(name, "CrashLoopBackOff", "back-off 5m0s restarting failed container")(o)
		status(name, func(s *corev1.ContainerStatus) {
			s.RestartCount = 3
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				Reason: reason, ExitCode: code, Message: message, StartedAt: ago(3 * time.Minute), FinishedAt: ago(time.Minute)}
		})(o)
	}
}

func runs(name string, ready bool, since time.Duration) change {
	return status(name, func(s *corev1.ContainerStatus) {
		s.Ready, s.Started = ready, &ready
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago(since)}}
	})
}

// initContainer adds an init container, restartable (a native sidecar) or not.
func initContainer(name string, restartable bool) change {
	return withPod(func(p *corev1.Pod) {
		c := corev1.Container{Name: name, Image: "init:1"}
		if restartable {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{Name: name})
	})
}

func event(uid types.UID, since time.Duration, reason, message string) change {
	return func(o *Observation) {
		o.Events = append(o.Events, corev1.Event{
			InvolvedObject: corev1.ObjectReference{UID: uid}, Reason: reason, Message: message,
			FirstTimestamp: ago(since), LastTimestamp: ago(since)})
	}
}

// about sets the container of the last event.
func about(name string) change {
	return func(o *Observation) {
		o.Events[len(o.Events)-1].InvolvedObject.FieldPath = "spec.containers{" + name + "}"
	}
}

func log(text string) change {
	return func(o *Observation) {
		for i := range o.Pod.Status.ContainerStatuses {
			if end := o.Pod.Status.ContainerStatuses[i].LastTerminationState.Terminated; end != nil {
				end.Message = text
			}
		}
	}
}

func claimPhase(phase corev1.PersistentVolumeClaimPhase) change {
	return func(o *Observation) { o.Claim.Status.Phase = phase }
}

func replicas(n int32) change {
	return func(o *Observation) { o.StatefulSet.Spec.Replicas = &n }
}

func deleted(gracePast time.Duration) change {
	return withPod(func(p *corev1.Pod) { t := ago(gracePast); p.DeletionTimestamp = &t })
}

func TestDiagnose(t *testing.T) {
	const room = "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient memory. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
	const pullFailed = "Failed to pull image"
	tests := []struct {
		name     string
		reason   string // why this is expected
		in       Observation
		want     string   // reason of the finding, empty for none
		contains []string // parts of the message
		not      []string // parts that it must not contain
		wait     bool     // Progressing
	}{
		// No finding.
		{name: "ready", reason: "a ready pod has no root cause, regardless of earlier events",
			in: observe(withCondition(corev1.PodReady, corev1.ConditionTrue, "", ""), ended("jupyter", "OOMKilled", 137, ""), event("pod", time.Minute, "FailedMount", "x"))},
		{name: "suspended", reason: "there should be no pod, and an old rejection is obsolete",
			in: observe(withoutPod, replicas(0), event("set", time.Minute, "FailedCreate", "exceeded quota: q"))},

		// Without a pod.
		{name: "nothing seen", reason: "the first observation must not look like an error", in: Observation{Now: now}, want: "Starting", wait: true},
		{name: "quota", reason: "the message names the quota and the resource to lower",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: pods "alice-0" is forbidden: exceeded quota: team, requested: limits.memory=8Gi, used: limits.memory=30Gi, limited: limits.memory=32Gi`)),
			want: "FailedCreate", contains: []string{"exceeded quota: team, requested: limits.memory=8Gi", "spec.jupyterServer.resources"}, not: []string{"alice-0"}},
		{name: "quota requires limits", reason: "a quota on limits rejects pods without limits",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: pods "alice-0" is forbidden: failed quota: team: must specify limits.memory for: jupyter`)),
			want: "FailedCreate", contains: []string{"must specify limits.memory for: jupyter", "Set spec.jupyterServer.resources.requests and limits"}},
		{name: "pod security", reason: "the message contains the violation to correct",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: pods "alice-0" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod must set it)`)),
			want: "FailedCreate", contains: []string{"runAsNonRoot != true", "spec.pod"}},
		{name: "webhook denies", reason: "a webhook's own text may contain the marks of other rejections",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: admission webhook "rules.example.org" denied the request: image is forbidden: use ours`)),
			want: "FailedCreate", contains: []string{"rules.example.org", "use ours", "your administrator about the policy"}},
		{name: "webhook is down", reason: "only an administrator can fix it",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: Internal error occurred: failed calling webhook "w.example.org": connection refused`)),
			want: "FailedCreate", contains: []string{"does not respond", "Ask your administrator"}},
		{name: "limit range", reason: "the message contains the limit",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: pods "alice-0" is forbidden: maximum memory usage per Container is 4Gi, but limit is 8Gi`)),
			want: "FailedCreate", contains: []string{"LimitRange", "4Gi", "spec.jupyterServer.resources"}},
		{name: "service account", reason: "the message names the field",
			in:   observe(withoutPod, event("set", time.Minute, "FailedCreate", `create Pod alice-0 in StatefulSet alice failed error: pods "alice-0" is forbidden: error looking up service account lab/nobody: serviceaccount "nobody" not found`)),
			want: "FailedCreate", contains: []string{"lab/nobody", "spec.pod.serviceAccountName"}},
		{name: "rejected, then created", reason: "a later success ends an earlier rejection",
			in: observe(withoutPod, event("set", 2*time.Minute, "FailedCreate", "exceeded quota: q"), event("set", time.Minute, "SuccessfulCreate", "")), want: "Starting", wait: true},
		{name: "rejection of an earlier StatefulSet", reason: "an object with the same name is not the same object",
			in: observe(withoutPod, event("old", time.Minute, "FailedCreate", "exceeded quota: q")), want: "Starting", wait: true},
		{name: "rejected before the pod was created", reason: "no rejection counts once there is a pod",
			in: observe(event("set", time.Minute, "FailedCreate", "exceeded quota: q")), want: "Starting", wait: true},

		// The pod as a whole.
		{name: "terminating", reason: "stopping within the grace period is normal", in: observe(deleted(-20 * time.Second)), want: "Terminating", wait: true},
		{name: "terminating for long", reason: "only a dead node keeps a pod far beyond its grace period",
			in: observe(deleted(10 * time.Minute)), want: "NodeLost", contains: []string{"n1", "probably down"}},
		{name: "held by a finalizer", reason: "the node is not the cause",
			in: observe(deleted(10*time.Minute), withPod(func(p *corev1.Pod) { p.Finalizers = []string{"example.org/hold"} })), want: "Terminating", contains: []string{"example.org/hold"}},
		{name: "preempted", reason: "the condition has the reason of the deletion",
			in: observe(deleted(-time.Second), withCondition(corev1.DisruptionTarget, corev1.ConditionTrue, corev1.PodReasonPreemptionByScheduler, "")), want: "Preempted", contains: []string{"spec.scheduling.priorityClassName"}},
		{name: "drained", reason: "maintenance ends without action",
			in: observe(deleted(-time.Second), withCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "")), want: "Evicted", wait: true},
		{name: "evicted for its files", reason: "an ephemeral volume has the size of spec.storage.size",
			in: observe(withPod(func(p *corev1.Pod) {
				p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", `Usage of EmptyDir volume "files" exceeds the limit "1Gi". `
			})), want: "Evicted", contains: []string{`"1Gi"`, "spec.storage.size"}},
		{name: "evicted for memory", reason: "a memory request prevents it",
			in: observe(withPod(func(p *corev1.Pod) {
				p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. "
			})), want: "Evicted", contains: []string{"requests.memory"}},
		{name: "node shutdown", reason: "the kubelet's reason Terminated is not helpful",
			in:   observe(withPod(func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Terminated" })),
			want: "NodeShutdown", contains: []string{"n1"}},
		{name: "node silent", reason: "the node controller changes only Ready, the containers look healthy",
			in: observe(runs("jupyter", true, time.Hour), runs("traefik", true, time.Hour),
				withCondition(corev1.PodReady, corev1.ConditionFalse, "", ""), withCondition(corev1.ContainersReady, corev1.ConditionTrue, "", "")),
			want: "NodeNotReady", contains: []string{"n1"}},

		// Scheduling.
		{name: "no room", reason: "the facts about nodes are kept, those about preemption are dropped",
			in: observe(unschedulablePod(room)), want: "Unschedulable", contains: []string{"No node has room: 0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient memory.", "spec.jupyterServer.resources"}, not: []string{"preemption"}},
		{name: "taint", reason: "tolerations are in spec.scheduling",
			in: observe(unschedulablePod("0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: x")), want: "Unschedulable", contains: []string{"spec.scheduling"}, not: []string{"resources"}},
		{name: "selector and room", reason: "both fixes are named if both problems exist",
			in: observe(unschedulablePod("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector.")), want: "Unschedulable", contains: []string{"spec.jupyterServer.resources", "spec.scheduling"}},
		{name: "cordoned", reason: "a user cannot uncordon a node",
			in: observe(unschedulablePod("0/1 nodes are available: 1 node(s) were unschedulable.")), want: "Unschedulable", contains: []string{"Ask your administrator about the nodes"}},
		{name: "volume elsewhere", reason: "a volume of one node or zone limits where the pod can run",
			in: observe(unschedulablePod("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match PersistentVolume's node affinity.")), want: "Unschedulable", contains: []string{"can attach the volume"}},
		{name: "autoscaler adds a node", reason: "it is normal, and takes minutes",
			in: observe(unschedulablePod(room), event("pod", time.Minute, "TriggeredScaleUp", "")), want: "Unschedulable", wait: true},
		{name: "scheduled since", reason: "the event FailedScheduling outlives its cause",
			in: observe(event("pod", time.Minute, "FailedScheduling", room)), want: "Starting", wait: true},
		{name: "scheduling gate", reason: "a queue gates pods on purpose",
			in:   observe(unschedulablePod(""), withCondition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonSchedulingGated, "")),
			want: "SchedulingGated", wait: true},
		{name: "no such scheduler", reason: "the pod has no condition",
			in: observe(withPod(func(p *corev1.Pod) {
				p.Spec.NodeName, p.Spec.SchedulerName, p.Status = "", "mine", corev1.PodStatus{}
			})), want: "Unschedulable", contains: []string{"mine", "spec.scheduling.schedulerName"}},

		// Claims and volumes.
		{name: "claim not found", reason: "the pod waits for an existing claim that does not exist",
			in: observe(unschedulablePod(`0/1 nodes are available: persistentvolumeclaim "data" not found. preemption: x`)), want: "ClaimNotFound", contains: []string{"data", "spec.storage.existingClaim"}},
		{name: "claim lost", reason: "the message reports the loss of files", in: observe(claimPhase(corev1.ClaimLost)), want: "ClaimLost", contains: []string{"lost"}},
		{name: "no default class", reason: "the claim is the root cause, the unschedulable pod is a consequence",
			in: observe(claimPhase(corev1.ClaimPending), unschedulablePod("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
				event("claim", time.Minute, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")),
			want: "ClaimPending", contains: []string{"no storage class", "spec.storage.storageClassName"}},
		{name: "no such class", reason: "the message names the class",
			in: observe(claimPhase(corev1.ClaimPending), unschedulablePod("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
				event("claim", time.Minute, "ProvisioningFailed", `storageclass.storage.k8s.io "fast" not found`)),
			want: "ProvisioningFailed", contains: []string{"storage class fast", "does not exist"}},
		{name: "provisioner fails", reason: "the normal events between two attempts must not hide the failure",
			in: observe(claimPhase(corev1.ClaimPending), unschedulablePod("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
				event("claim", 2*time.Minute, "ProvisioningFailed", `failed to provision volume with StorageClass "fast": rpc error: code = ResourceExhausted desc = pool is full`),
				event("claim", time.Minute, "ExternalProvisioning", "Waiting for a volume to be created")),
			want: "ProvisioningFailed", contains: []string{"pool is full"}},
		{name: "failure of a bound claim", reason: "a bound claim is healthy",
			in: observe(event("claim", time.Minute, "ProvisioningFailed", "x")), want: "Starting", wait: true},
		{name: "claim waits for its pod", reason: "WaitForFirstConsumer is normal, the nodes are the cause",
			in: observe(claimPhase(corev1.ClaimPending), unschedulablePod(room), event("claim", time.Minute, "WaitForPodScheduled", "waiting for pod alice-0 to be scheduled")), want: "Unschedulable"},
		{name: "volume is being created", reason: "provisioning takes a while",
			in: observe(claimPhase(corev1.ClaimPending), unschedulablePod("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
				event("claim", 10*time.Second, "ExternalProvisioning", "Waiting for a volume")), want: "ClaimPending", wait: true},
		{name: "no provisioner", reason: "no provisioner handles the class",
			in: observe(claimPhase(corev1.ClaimPending), unschedulablePod("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
				event("claim", 9*time.Minute, "ExternalProvisioning", "Waiting for a volume")), want: "ClaimPending", contains: []string{"provisioner"}},
		{name: "volume in use", reason: "the other pod is what the user can stop",
			in: observe(event("pod", time.Minute, "FailedAttachVolume", `Waiting for detach for volume "pvc-1" Volume is already used by pod(s) bob-0`)), want: "FailedAttachVolume", contains: []string{"bob-0"}},
		{name: "volume still attached", reason: "the volume of a lost node is detached after a while",
			in: observe(event("pod", time.Minute, "FailedAttachVolume", `Waiting for detach for volume "pvc-1" Volume is already exclusively attached to one node, waiting on detach before it can be attached to another node`)), want: "FailedAttachVolume", contains: []string{"still attached"}},
		{name: "attached since", reason: "an attachment ends the failure to attach",
			in: observe(event("pod", 2*time.Minute, "FailedAttachVolume", "x"), event("pod", time.Minute, "SuccessfulAttachVolume", "")), want: "Starting", wait: true},
		{name: "mounted secret missing", reason: "the timeout that follows has no details",
			in: observe(event("pod", 2*time.Minute, "FailedMount", `MountVolume.SetUp failed for volume "x" : secret "keys" not found`),
				event("pod", time.Minute, "FailedMount", "Unable to attach or mount volumes: unmounted volumes=[x], unattached volumes=[], failed to process volumes=[]: context deadline exceeded")),
			want: "FailedMount", contains: []string{"Secret keys", "spec.pod.volumes"}},
		{name: "mount of an earlier pod", reason: "the pod has the same name each time",
			in: observe(event("oldpod", time.Minute, "FailedMount", "x")), want: "Starting", wait: true},
		{name: "mounted since", reason: "a pod whose containers start has its volumes",
			in: observe(withCondition(corev1.PodReadyToStartContainers, corev1.ConditionTrue, "", ""), event("pod", time.Minute, "FailedMount", "x")), want: "Starting", wait: true},
		{name: "sandbox", reason: "users cannot fix the network of a node",
			in: observe(event("pod", time.Minute, "FailedCreatePodSandBox", `Failed to create pod sandbox: rpc error: code = Unknown desc = plugin type="calico" failed (add): no addresses left`)), want: "FailedCreatePodSandBox", contains: []string{"no addresses left", "admin"}},

		// Images.
		{name: "no such image", reason: "the back-off repeats the error",
			in:   observe(waits("jupyter", "ImagePullBackOff", `Back-off pulling image "quay.io/j/nb:1": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "quay.io/j/nb:1": failed to resolve image: quay.io/j/nb:1: not found`)),
			want: "ImagePullBackOff", contains: []string{"quay.io/j/nb:1", "no such image or tag", "spec.jupyterServer.image"}},
		{name: "error between back-offs", reason: "the reason must not alternate while the kubelet retries",
			in: observe(waits("jupyter", "ErrImagePull", "toomanyrequests: You have reached your pull rate limit")), want: "ImagePullBackOff", contains: []string{"rate limit is reached"}},
		{name: "private image", reason: "a pull secret gives access",
			in: observe(waits("jupyter", "ErrImagePull", "failed to authorize: unexpected status: 401 Unauthorized")), want: "ImagePullBackOff", contains: []string{"spec.jupyterServer.imagePullSecrets"}},
		{name: "pull secret missing", reason: "the registry denies access because the Secret is missing",
			in: observe(withPod(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "reg"}} }),
				waits("jupyter", "ErrImagePull", "401 Unauthorized"), event("pod", time.Minute, "FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (reg); attempting to pull the image may not succeed.")),
			want: "ImagePullBackOff", contains: []string{"pull secret reg does not exist"}},
		{name: "registry host", reason: "a typo in the host", in: observe(waits("jupyter", "ErrImagePull", "dial tcp: lookup quayy.io: no such host")), want: "ImagePullBackOff", contains: []string{"does not resolve"}},
		{name: "registry slow", reason: "a timeout may be temporary", in: observe(waits("jupyter", "ErrImagePull", "dial tcp 1.2.3.4:443: i/o timeout")), want: "ImagePullBackOff", contains: []string{"in time"}},
		{name: "misleading name", reason: "words in the image name are not part of the registry's error",
			in: observe(spec("jupyter", func(c *corev1.Container) { c.Image = "x/unauthorized:1" }), waits("jupyter", "ErrImagePull", "x/unauthorized:1: not found")), want: "ImagePullBackOff", contains: []string{"no such image"}},
		{name: "kubelet forgot", reason: "a restarted kubelet backs off without the error, which the event still contains",
			in: observe(waits("jupyter", "ImagePullBackOff", `Back-off pulling image "quay.io/j/nb:1"`), event("pod", time.Minute, "Failed", pullFailed+` "quay.io/j/nb:1": manifest unknown`)), want: "ImagePullBackOff", contains: []string{"no such image"}},
		{name: "invalid name", reason: "no registry was contacted", in: observe(waits("jupyter", "InvalidImageName", "x")), want: "InvalidImageName", contains: []string{"not a valid image name"}},
		{name: "never pulled", reason: "the policy is the cause", in: observe(waits("jupyter", "ErrImageNeverPull", "x")), want: "ErrImageNeverPull", contains: []string{"imagePullPolicy"}},
		{name: "sidecar image", reason: "the broken container is named", in: observe(waits("traefik", "ErrImagePull", "not found")), want: "ImagePullBackOff", contains: []string{"traefik:v3 (container traefik)", "spec.pod.containers"}},
		{name: "init image", reason: "an init container blocks the others", in: observe(initContainer("fetch", false), waits("fetch", "ErrImagePull", "not found")), want: "ImagePullBackOff", contains: []string{"container fetch", "spec.pod.initContainers"}},

		// Containers.
		{name: "secret missing", reason: "an environment variable refers to it",
			in: observe(waits("jupyter", "CreateContainerConfigError", `secret "db" not found`)), want: "CreateContainerConfigError", contains: []string{"Secret db", "spec.jupyterServer.env"}},
		{name: "token secret missing", reason: "the token has its own field",
			in: observe(spec("jupyter", func(c *corev1.Container) {
				c.Env = []corev1.EnvVar{{Name: "JUPYTER_TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "tok"}}}}}
			}), waits("jupyter", "CreateContainerConfigError", `secret "tok" not found`)), want: "CreateContainerConfigError", contains: []string{"spec.auth.token.secretKeyRef"}},
		{name: "key missing", reason: "key and object are named",
			in: observe(waits("jupyter", "CreateContainerConfigError", "couldn't find key url in ConfigMap lab/db")), want: "CreateContainerConfigError", contains: []string{"The ConfigMap db has no key url"}},
		{name: "root image", reason: "the default security context forbids root",
			in: observe(waits("jupyter", "CreateContainerConfigError", `container has runAsNonRoot and image will run as root (pod: "alice-0_lab(1)", container: jupyter)`)), want: "CreateContainerConfigError", contains: []string{"as root", "spec.pod.securityContext.runAsUser"}},
		{name: "named user", reason: "Kubernetes does not read the image's passwd",
			in: observe(waits("jupyter", "CreateContainerConfigError", `container has runAsNonRoot and image has non-numeric user (jovyan), cannot verify user is non-root (pod: "alice-0_lab(1)", container: jupyter)`)), want: "CreateContainerConfigError", contains: []string{"(jovyan)", "runAsUser"}},
		{name: "no jupyter", reason: "the most frequent mistake with custom images",
			in: observe(ended("jupyter", "StartError", 128, `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "jupyter": executable file not found in $PATH`)), want: "StartError", contains: []string{"quay.io/j/nb:1 has no executable jupyter on its PATH"}},
		{name: "no jupyter, seen by the entry point", reason: "a shell exits with 127",
			in: observe(ended("jupyter", "Error", 127, ""), log("start.sh: line 9: exec: jupyter: not found\n")), want: "CrashLoopBackOff", contains: []string{"exec: jupyter: not found", "on its PATH"}},
		{name: "other architecture", reason: "the kernel's error appears in the runtime's message or in the log",
			in: observe(ended("jupyter", "Error", 255, ""), log("exec /usr/bin/tini: exec format error")), want: "StartError", contains: []string{"another CPU architecture"}},
		{name: "out of memory", reason: "the limit is the cause, not the exit code",
			in: observe(ended("jupyter", "OOMKilled", 137, ""), spec("jupyter", func(c *corev1.Container) {
				c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}
			})), want: "OOMKilled", contains: []string{"2Gi", "spec.jupyterServer.resources.limits.memory"}},
		{name: "out of memory, started again", reason: "between two crashes the cause does not change",
			in: observe(ended("jupyter", "OOMKilled", 137, ""), runs("jupyter", false, time.Second)), want: "OOMKilled"},
		{name: "crash with log", reason: "the last line that is not blank is the cause",
			in:   observe(ended("jupyter", "Error", 1, ""), log("Traceback\n\x1b[31mModuleNotFoundError: No module named 'x'\x1b[0m\n\n")),
			want: "CrashLoopBackOff", contains: []string{"exit code 1; its last output: ModuleNotFoundError: No module named 'x'", "kubectl logs alice-0 -c jupyter -p"}},
		{name: "crash without log", reason: "the termination message may contain the end of the log",
			in: observe(ended("jupyter", "Error", 2, "usage: jupyter\nbad option")), want: "CrashLoopBackOff", contains: []string{"exit code 2", "bad option"}},
		{name: "native sidecar crashes", reason: "it is an init container only in the spec",
			in: observe(initContainer("db", true), ended("db", "Error", 3, "")), want: "CrashLoopBackOff", contains: []string{"The init container db stopped with exit code 3"}},
		{name: "sidecar crashes", reason: "Jupyter may be healthy next to it",
			in: observe(runs("jupyter", true, time.Hour), ended("traefik", "Error", 1, "")), want: "CrashLoopBackOff", contains: []string{"The container traefik"}, not: []string{"spec.jupyterServer"}},
		{name: "node was restarted", reason: "a container that the node lost did not crash",
			in: observe(ended("jupyter", "ContainerStatusUnknown", 137, ""), runs("jupyter", false, time.Second)), want: "Starting", wait: true},
		{name: "startup probe kills", reason: "the exit code 137 is the kubelet's, not a lack of memory",
			in: observe(ended("jupyter", "Error", 137, ""), event("pod", time.Minute, "Killing", "Container jupyter failed startup probe, will be restarted"), about("jupyter")), want: "Unhealthy", contains: []string{"did not respond"}},
		{name: "probe killed an earlier run", reason: "this crash has another cause",
			in: observe(ended("jupyter", "Error", 1, ""), event("pod", 30*time.Minute, "Killing", "Container jupyter failed startup probe, will be restarted"), about("jupyter")), want: "CrashLoopBackOff"},
		{name: "does not respond", reason: "the path may be misconfigured",
			in: observe(runs("traefik", true, time.Hour), runs("jupyter", false, 5*time.Minute), event("pod", time.Second, "Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 404"), about("jupyter")), want: "Unhealthy", contains: []string{"/alice/api", "404"}},
		{name: "just started", reason: "Jupyter needs some seconds", in: observe(runs("jupyter", false, 5*time.Second)), want: "Starting", wait: true, contains: []string{"has not responded yet"}},
		{name: "pulling", reason: "the longest step has its own message", in: observe(event("pod", time.Second, "Pulling", `Pulling image "quay.io/j/nb:1"`), about("jupyter")), want: "Starting", wait: true, contains: []string{"quay.io/j/nb:1 is being pulled"}},
		{name: "init container runs", reason: "its run time is not limited", in: observe(initContainer("fetch", false), runs("fetch", false, time.Hour)), want: "Starting", wait: true, contains: []string{"fetch is running; Jupyter starts after it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, found := Diagnose(tt.in)
			if tt.in.Pod != nil {
				Strip(tt.in.Pod)
			}
			if again, _ := Diagnose(tt.in); again != got {
				t.Errorf("got %+v for the stripped pod, want %+v", again, got)
			}
			if found != (tt.want != "") || got.Reason != tt.want {
				t.Fatalf("%s: got reason %q (%v), want %q; message: %s", tt.reason, got.Reason, found, tt.want, got.Message)
			}
			if !found {
				return
			}
			if severity := map[bool]Severity{true: Progressing, false: Degraded}[tt.wait]; got.Severity != severity {
				t.Errorf("%s: got severity %s, want %s", tt.reason, got.Severity, severity)
			}
			for _, part := range tt.contains {
				if !strings.Contains(got.Message, part) {
					t.Errorf("%s: %q is not in the message: %s", tt.reason, part, got.Message)
				}
			}
			for _, part := range tt.not {
				if strings.Contains(got.Message, part) {
					t.Errorf("%s: %q is in the message: %s", tt.reason, part, got.Message)
				}
			}
			checkMessage(t, got.Message)
			t.Log(got.Message)
		})
	}
}

// TestDiagnoseIsStable: neither the order of a list from a cache nor the counts of events, which grow with each attempt, may
// change a finding.
func TestDiagnoseIsStable(t *testing.T) {
	o := observe(
		event("pod", 8*time.Minute, "FailedMount", `MountVolume.SetUp failed for volume "a" : secret "a" not found`),
		event("pod", 7*time.Minute, "FailedMount", `MountVolume.SetUp failed for volume "b" : configmap "b" not found`))
	// Both are retried in turn, so either may have been seen last.
	for _, seen := range [][2]time.Duration{{20 * time.Second, 10 * time.Second}, {10 * time.Second, 20 * time.Second}, {5 * time.Second, 5 * time.Second}} {
		o.Events[0].LastTimestamp, o.Events[1].LastTimestamp = ago(seen[0]), ago(seen[1])
		o.Events[0].Count++
		reversed := o
		reversed.Events = []corev1.Event{o.Events[1], o.Events[0]}
		for _, in := range []Observation{o, reversed} {
			if got, _ := Diagnose(in); !strings.HasPrefix(got.Message, "The Secret a,") {
				t.Errorf("seen %v s ago: got %q, want the first failure", seen, got.Message)
			}
		}
	}
	// The Secret exists now, and its failure is no longer repeated.
	o.Events[0].LastTimestamp = ago(7 * time.Minute)
	if got, _ := Diagnose(o); !strings.HasPrefix(got.Message, "The ConfigMap b,") {
		t.Errorf("got %q, want the remaining failure", got.Message)
	}
}

func TestRecheck(t *testing.T) {
	o := observe(runs("jupyter", false, 30*time.Second), runs("traefik", true, time.Minute))
	before, _ := Diagnose(o)
	if before.Recheck != 90*time.Second {
		t.Fatalf("got recheck %s, want 1m30s, when the start has taken too long", before.Recheck)
	}
	o.Now = o.Now.Add(before.Recheck)
	if after, _ := Diagnose(o); after.Reason != "Unhealthy" || after.Recheck != 0 {
		t.Fatalf("got %+v after the recheck, want Unhealthy", after)
	}
}
