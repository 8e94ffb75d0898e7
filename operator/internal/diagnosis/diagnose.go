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

// patience is how long a normal step may take before it is called wrong.
const patience = 2 * time.Minute

// Observation is what was seen of a server's children.
type Observation struct {
	// Now is the time of the observation.
	Now time.Time
	// StatefulSet is nil when it was not seen.
	StatefulSet *appsv1.StatefulSet
	// Pod is nil when there is none.
	Pod *corev1.Pod
	// NameTakenBy is whose the pod is that has the name which the server's pod needs, such as "the Job backup". Empty: nobody's.
	NameTakenBy string
	// Claim is the claim that the pod mounts, nil when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Events are those of the pod, the StatefulSet and the claim, in any order. Events of other objects are ignored.
	Events []corev1.Event
	// Access is what the access control says of itself, nil where there is none or it does not answer.
	Access *Access
}

// Severity says whether a finding is a reason to worry.
type Severity string

const (
	// Progressing is normal on the way: wait.
	Progressing Severity = "Progressing"
	// Degraded is wrong. Kubernetes goes on trying, so it may still pass without anybody's help.
	Degraded Severity = "Degraded"
)

// Finding is the root cause of why a server does not run.
type Finding struct {
	// Reason is a word in CamelCase, Kubernetes' own where there is one. It does not alternate while Kubernetes retries.
	Reason string
	// Message says the root cause and what to do, in one line of at most 300 characters that ends with a full stop.
	Message string
	// Severity says whether the finding is a reason to worry.
	Severity Severity
	// Recheck is the time after which the passing of time alone changes the finding. Zero: only a change of the children
	// can.
	Recheck time.Duration
}

// cause looks for one kind of root cause.
type cause func(Observation) (Finding, bool)

// Diagnose finds the root cause of why a server does not run. It returns false when there is nothing to tell: the pod is
// ready, or there is none because none is wanted.
func Diagnose(o Observation) (Finding, bool) {
	if o.Pod == nil {
		if IsScaledToZero(o.StatefulSet) {
			return Finding{}, false
		}
		return first(o, []cause{
			nameTaken,
			creationRefused,
			notCreated,
		})
	}
	if o.Pod.DeletionTimestamp == nil && conditionStatus(o.Pod, corev1.PodReady) == corev1.ConditionTrue {
		return Finding{}, false
	}
	return first(o, []cause{
		// The pod as a whole: nothing inside of it matters while it is on its way out.
		deletionStuck,
		disrupted,
		terminating,
		podFailed,
		nodeNotReady,
		// Before a node is found. A claim keeps pods from nodes, never the other way round.
		claimMissing,
		claimFailed,
		unschedulable,
		claimPending,
		notScheduled,
		// On the node, before the containers.
		setupFailed,
		// The containers: none runs before its image is there.
		imageNotPulled,
		badConfiguration,
		notStarted,
		outOfMemory,
		probeKilled,
		providerTrouble,
		crashed,
		chainUnready,
		unhealthy,
		// Nothing is wrong.
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

// degraded makes a finding of something wrong. Neither fact nor advice ends with a full stop.
func degraded(reason, fact, advice string) (Finding, bool) {
	return Finding{Reason: reason, Message: sentence(fact, advice), Severity: Degraded}, true
}

// progressing makes a finding of something normal.
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

// condition returns the condition of that type, or an empty one, whose status is "".
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
