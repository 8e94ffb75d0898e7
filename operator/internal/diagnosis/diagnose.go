// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// JupyterContainer is the name of the container that runs Jupyter.
const JupyterContainer = "jupyter"

// stepTimeout is how long a normal step may take before it is reported as a problem.
const stepTimeout = 2 * time.Minute

// Observation is the observed state of a server's children.
type Observation struct {
	// Now is the time of the observation.
	Now time.Time
	// StatefulSet is nil if there is none.
	StatefulSet *appsv1.StatefulSet
	// Pod is nil if there is none.
	Pod *corev1.Pod
	// NameTakenBy describes the owner of a foreign pod with the name that the server's pod needs, such as "the Job backup". It is
	// empty if there is no such pod.
	NameTakenBy string
	// Claim is the claim that the pod mounts. It is nil if there is none.
	Claim *corev1.PersistentVolumeClaim
	// Events are the events of the pod, the StatefulSet and the claim, in any order. Events of other objects are ignored.
	Events []corev1.Event
	// Access is the state that the access control reports. It is nil without access control, or if it does not respond.
	Access *Access
}

// Severity distinguishes problems from normal progress.
type Severity string

const (
	// Progressing is a normal step of the start: no action is needed.
	Progressing Severity = "Progressing"
	// Degraded is a problem. Kubernetes keeps trying, so it may still resolve without action.
	Degraded Severity = "Degraded"
)

// Finding is the root cause of a server that does not run.
type Finding struct {
	// Reason is a CamelCase word, that of Kubernetes if there is one. It does not alternate while Kubernetes retries.
	Reason string
	// Message is the root cause and how to fix it, in one line of at most 300 characters that ends with a full stop.
	Message string
	// Severity distinguishes problems from normal progress.
	Severity Severity
	// Recheck is the time after which the finding changes although the children do not. It is zero if only a change of the
	// children changes the finding.
	Recheck time.Duration
}

// cause detects one kind of root cause.
type cause func(Observation) (Finding, bool)

// Diagnose finds the root cause of a server that does not run. It returns false if there is nothing to report: the pod is ready,
// or the server is suspended and has none.
func Diagnose(o Observation) (Finding, bool) {
	if o.Pod == nil {
		if IsScaledToZero(o.StatefulSet) {
			return Finding{}, false
		}
		return first(o, []cause{
			nameTaken,
			creationRejected,
			notCreated,
		})
	}
	if o.Pod.DeletionTimestamp == nil && conditionStatus(o.Pod, corev1.PodReady) == corev1.ConditionTrue {
		return Finding{}, false
	}
	return first(o, []cause{
		// The pod as a whole: nothing inside it matters while it is being removed.
		deletionStuck,
		disrupted,
		terminating,
		podFailed,
		nodeNotReady,
		// Before scheduling. A claim can block scheduling, never the other way round.
		claimMissing,
		claimFailed,
		unschedulable,
		claimPending,
		notScheduled,
		// On the node, before the containers start.
		setupFailed,
		// The containers: none starts before its image is pulled.
		imageNotPulled,
		badConfiguration,
		notStarted,
		outOfMemory,
		probeKilled,
		providerTrouble,
		crashed,
		chainUnready,
		unhealthy,
		// No problem.
		starting,
	})
}

func first(o Observation, causes []cause) (Finding, bool) {
	for _, find := range causes {
		if f, found := find(o); found {
			return f, true
		}
	}
	return Finding{}, false
}

// degraded returns a finding for a problem. Neither fact nor advice ends with a full stop.
func degraded(reason, fact, advice string) (Finding, bool) {
	return Finding{Reason: reason, Message: sentence(fact, advice), Severity: Degraded}, true
}

// progressing returns a finding for a normal step.
func progressing(reason, fact, advice string) (Finding, bool) {
	return Finding{Reason: reason, Message: sentence(fact, advice), Severity: Progressing}, true
}

func none() (Finding, bool) {
	return Finding{}, false
}

// IsScaledToZero reports whether a StatefulSet asks for no pod. Nil asks for nothing that is known.
func IsScaledToZero(set *appsv1.StatefulSet) bool {
	return set != nil && set.Spec.Replicas != nil && *set.Spec.Replicas == 0
}

// condition returns the pod's condition of a type, or an empty one with the status "".
func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

func conditionStatus(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	return condition(pod, kind).Status
}
