// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
)

// Event is an event about a server.
type Event struct {
	// Type is Normal or Warning.
	Type string
	// Reason and Action are words in CamelCase.
	Reason, Action string
	Message        string
}

// Done returns the events of what a turn did to the cluster. Nothing was done: no event.
func (t Turn) Done() []Event {
	var events []Event
	if restored := t.Result.Restored; len(restored) > 0 {
		events = append(events, Event{corev1.EventTypeWarning, "SecretPutBack", "Repair",
			fmt.Sprintf("restored keys of the credentials Secret: %s; generated values take effect when the pod restarts", strings.Join(restored, ", "))})
	}
	r := t.Result
	if r.Release == nil {
		return events
	}
	switch r.State {
	case release.Absent:
		events = append(events, Event{corev1.EventTypeNormal, "Installed", "Install", "installed release " + r.Release.Name})
	case release.Outdated:
		if t.Plan.Target == TargetGood {
			return append(events, Event{corev1.EventTypeWarning, v1alpha1.ReasonRolledBack, "RollBack", t.problem().Message})
		}
		events = append(events, Event{corev1.EventTypeNormal, "Upgraded", "Upgrade", fmt.Sprintf("upgraded release %s to revision %d", r.Release.Name, r.Release.Revision)})
	case release.Unchecked:
		if t.Facts.Current.Revision != r.Release.Revision {
			events = append(events, Event{corev1.EventTypeNormal, "Recorded", "Repair", fmt.Sprintf("recorded release %s again as revision %d", r.Release.Name, r.Release.Revision)})
		}
	case release.Drifted:
		events = append(events, Event{corev1.EventTypeWarning, "DriftRepaired", "Repair", "reverted drift: " + r.Summary})
	case release.InSync:
	}
	return events
}

// Transitions returns the events of a change of status.
func Transitions(before, after v1alpha1.JupyterServerStatus) []Event {
	var events []Event
	was, is := conditionsOf(before), conditionsOf(after)
	ready := is(v1alpha1.ConditionReady)
	inTrouble := after.State == v1alpha1.StateFailed || meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionStalled)
	switch {
	case after.State == v1alpha1.StateRunning && before.State != after.State && ready.Status == metav1.ConditionTrue:
		events = append(events, Event{corev1.EventTypeNormal, v1alpha1.ReasonRunning, "Start", "the server answers at " + after.URL})
	case ready.Status == metav1.ConditionFalse && inTrouble && was(v1alpha1.ConditionReady).Reason != ready.Reason:
		events = append(events, Event{corev1.EventTypeWarning, ready.Reason, "Reconcile", ready.Message})
	}
	if was(v1alpha1.ConditionPolicyCompliant).Status == metav1.ConditionFalse && is(v1alpha1.ConditionPolicyCompliant).Status == metav1.ConditionTrue {
		events = append(events, Event{corev1.EventTypeNormal, v1alpha1.ReasonCompliant, "Judge", "the policies allow the server again"})
	}
	if released := is(v1alpha1.ConditionReleased); released.Reason == v1alpha1.ReasonContested && was(v1alpha1.ConditionReleased).Reason != released.Reason {
		events = append(events, Event{corev1.EventTypeWarning, released.Reason, "Repair", released.Message})
	}
	return events
}

// conditionsOf returns a function that finds a condition by its type. One that is not there is empty.
func conditionsOf(status v1alpha1.JupyterServerStatus) func(kind string) metav1.Condition {
	return func(kind string) metav1.Condition {
		if condition := meta.FindStatusCondition(status.Conditions, kind); condition != nil {
			return *condition
		}
		return metav1.Condition{}
	}
}
