// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/backoff"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

// Result is what came of a plan. The zero value did nothing.
type Result struct {
	release.Result          // what came of following a revision; its Release is nil if nothing was followed
	URL            string   // where the target is served; empty if that is not known, or is where the spec says
	Restored       []string // the keys of the credentials Secret that were restored
	Retry          error    // worth another try
}

// Turn is everything that a status follows from.
type Turn struct {
	Server *v1alpha1.JupyterServer
	Facts  Facts
	Plan   Plan
	Result Result
	Now    metav1.Time
}

// Terminating returns the status of a server that is being deleted.
func Terminating(server *v1alpha1.JupyterServer, now metav1.Time) v1alpha1.JupyterServerStatus {
	status := *server.Status.DeepCopy()
	status.ObservedGeneration = server.Generation
	status.State, status.Message = v1alpha1.StateTerminating, "The server is being deleted."
	setCondition(&status, now, v1alpha1.ConditionReady, metav1.ConditionFalse, "Terminating", status.Message)
	return status
}

// Status returns the status after a turn.
func Status(t Turn) v1alpha1.JupyterServerStatus {
	status := *t.Server.Status.DeepCopy()
	s := t.summarize()
	status.ObservedGeneration = t.Server.Generation
	status.State, status.Message = s.state, s.message
	status.URL = t.url()
	status.Release = t.release()
	status.Pod, status.StartedAt = t.Facts.Pod.Status, t.Facts.Pod.StartedAt

	set := func(kind string, value metav1.ConditionStatus, reason, message string) {
		setCondition(&status, t.Now, kind, value, reason, message)
	}
	set(v1alpha1.ConditionReady, s.ready, s.reason, s.message)
	reconciling := s.reason
	if t.isContested() {
		reconciling = v1alpha1.ReasonContested
	}
	set(v1alpha1.ConditionReconciling, conditionStatus(s.reconciling), reconciling, s.message)
	set(v1alpha1.ConditionStalled, conditionStatus(s.stalled), s.reason, s.message)
	t.setCompliant(&status, set)
	t.setReleased(set)
	t.setUpToDate(set)
	return status
}

// summary is the part of a status that the conditions follow from.
type summary struct {
	state       v1alpha1.State
	message     string
	ready       metav1.ConditionStatus
	reason      string
	reconciling bool
	stalled     bool
}

// summarize finds the one state. A spec that is not followed comes first, then an error that is tried again, then the pod.
func (t Turn) summarize() summary {
	var s summary
	switch problem := t.problem(); {
	case problem != nil:
		return t.summarizeHeld(problem)
	case t.Result.Retry != nil:
		return summary{
			state: t.stateOnError(), ready: metav1.ConditionFalse, reason: v1alpha1.ReasonApplyFailed,
			message: sentence(t.Result.Retry.Error() + "; retrying"), reconciling: true,
		}
	case t.Facts.Intent.Stop:
		s = t.summarizeStopped()
	case t.isReady():
		s = summarizeRunning(t.Facts.Pod.Finding)
	default:
		s = t.summarizeStarting()
	}
	if t.isContested() {
		s.reconciling = true
		s.message = strings.TrimSpace(s.message + " " + conflictMessage(t.Result.Conflicts))
	}
	return s
}

// problem returns why the spec is not followed, or nil. A server that waits for a stop is not in trouble.
func (t Turn) problem() *Problem {
	switch t.Plan.Hold {
	case HoldBlocked:
		return t.Facts.Problem
	case HoldRolledBack:
		if current := t.current(); current != nil && current.RolledBack != nil {
			back := current.RolledBack
			return NewProblem(v1alpha1.ReasonRolledBack, fmt.Sprintf("revision %d did not start and was rolled back; fix the spec: %s", back.Revision, back.Message))
		}
	case HoldNone, HoldWaitsForStop:
	}
	return nil
}

// summarizeHeld summarizes a server whose spec is not followed. If an earlier revision exists, the message says what became of
// that, too.
func (t Turn) summarizeHeld(problem *Problem) summary {
	s := summary{state: v1alpha1.StateFailed, ready: metav1.ConditionFalse, reason: problem.Reason, stalled: true}
	switch {
	case t.Plan.Stop && t.Facts.Pod.Status == nil:
		s.state = v1alpha1.StateSuspended
	case t.Plan.Stop:
		s.state = v1alpha1.StateSuspending
	case t.Facts.Pod.Ready:
		s.state = v1alpha1.StateRunning
	}
	s.message = problem.Message + t.heldRevision()
	if finding := t.finding(); finding != nil {
		s.message += " Also: " + finding.Message
	}
	return s
}

// heldRevision says what became of the revision that is kept, if there is one, and if a finding does not say that.
func (t Turn) heldRevision() string {
	pod, isTouched := t.Facts.Pod, t.Result.Summary != ""
	switch {
	case t.current() == nil:
		return ""
	case t.Plan.Stop:
		return " The server is stopped (" + t.Facts.Intent.By + "); its files are kept."
	case t.finding() != nil && !pod.Ready:
		return ""
	case t.Facts.Set == SetStopped && !isTouched:
		return " Until then the server stays stopped."
	case t.Facts.Set != SetScaled && pod.Status == nil && !isTouched:
		return " Until then the server has no pod."
	case pod.Ready:
		return " Until then the previous revision keeps running."
	}
	return " Until then the previous revision stays in place."
}

// summarizeRunning summarizes a server that answers. A provider that is down passes; one that rejects the client has to be fixed
// before anyone can sign in.
func summarizeRunning(finding *diagnosis.Finding) summary {
	switch {
	case finding == nil:
		return summary{state: v1alpha1.StateRunning, ready: metav1.ConditionTrue, reason: v1alpha1.ReasonRunning}
	case finding.Severity == diagnosis.Degraded:
		return summary{state: v1alpha1.StateFailed, ready: metav1.ConditionFalse, reason: finding.Reason, message: finding.Message}
	}
	return summary{state: v1alpha1.StateRunning, ready: metav1.ConditionTrue, reason: finding.Reason, message: finding.Message}
}

func (t Turn) summarizeStarting() summary {
	s := summary{state: v1alpha1.StateStarting, ready: metav1.ConditionFalse, reason: v1alpha1.ReasonStarting, message: "Starting the pod.", reconciling: true}
	finding := t.finding()
	if finding == nil {
		return s
	}
	s.reason, s.message = finding.Reason, finding.Message
	if finding.Severity == diagnosis.Degraded {
		s.state = v1alpha1.StateFailed
	}
	if t.Facts.NoRollback != "" {
		s.message += " It cannot be rolled back: " + t.Facts.NoRollback
	}
	return s
}

func (t Turn) summarizeStopped() summary {
	if t.Facts.Pod.Status != nil {
		return summary{state: v1alpha1.StateSuspending, ready: metav1.ConditionFalse, reason: v1alpha1.ReasonSuspending, message: "Stopping the pod; the files are kept.", reconciling: true}
	}
	return summary{state: v1alpha1.StateSuspended, ready: metav1.ConditionTrue, reason: t.Facts.Intent.Reason, message: t.Facts.Intent.Message}
}

func (t Turn) stateOnError() v1alpha1.State {
	switch {
	case t.Facts.Pod.Ready:
		return v1alpha1.StateRunning
	case t.current() == nil:
		return v1alpha1.StatePending
	}
	return v1alpha1.StateStarting
}

// finding returns what is wrong with the pod. What was found of a pod that the turn replaced no longer counts.
func (t Turn) finding() *diagnosis.Finding {
	if t.Result.PodReplaced {
		return nil
	}
	return t.Facts.Pod.Finding
}

// isReady reports whether the pod of the target answers.
func (t Turn) isReady() bool {
	return t.Facts.Pod.Ready && t.Facts.Pod.Current && !t.Result.PodReplaced
}

// current returns the release after the turn.
func (t Turn) current() *v1alpha1.ReleaseStatus {
	return cmp.Or(t.Result.Release, t.Facts.Current)
}

// release returns the release for the status: it holds the newest spec if that is followed, and its revision is good once the
// server is ready with it.
func (t Turn) release() *v1alpha1.ReleaseStatus {
	current := t.current()
	if current == nil {
		return nil
	}
	out := *current
	if (t.Plan.Hold == HoldNone || t.Plan.Hold == HoldWaitsForStop) && t.Result.Retry == nil {
		out.Generation = t.Server.Generation
	}
	if t.isReady() && !t.Facts.Intent.Stop && t.Result.Retry == nil {
		out.GoodRevision, out.GoodRecordDigest = out.Revision, out.RecordDigest
	}
	return &out
}

// url returns where the server is reached: where it was, while the spec is not followed or could not be applied.
func (t Turn) url() string {
	held := t.Plan.Hold == HoldBlocked || t.Plan.Hold == HoldRolledBack || t.Result.Retry != nil
	switch {
	case t.Result.URL != "":
		return t.Result.URL
	case held && t.current() != nil && t.Server.Status.URL != "":
		return t.Server.Status.URL
	}
	return t.Facts.URL
}

// isContested reports whether another client keeps changing objects of a server that is otherwise in order. It is ready or not as
// its pod is, and it is reconciling because the operator keeps trying.
func (t Turn) isContested() bool {
	return t.problem() == nil && t.Result.Retry == nil && len(t.Result.Conflicts) > 0
}

type setter func(kind string, value metav1.ConditionStatus, reason, message string)

// setCompliant keeps the last verdict of a spec that was not evaluated because of another problem.
func (t Turn) setCompliant(status *v1alpha1.JupyterServerStatus, set setter) {
	v := t.Facts.Verdict
	problem := v.Problem()
	switch {
	case !v.Asked && meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionPolicyCompliant) != nil:
	case !v.Asked:
		set(v1alpha1.ConditionPolicyCompliant, metav1.ConditionUnknown, v1alpha1.ReasonNotJudged, "The policies were not evaluated yet.")
	case v.Failure != nil:
		set(v1alpha1.ConditionPolicyCompliant, metav1.ConditionUnknown, problem.Reason, problem.Message)
	case problem != nil:
		set(v1alpha1.ConditionPolicyCompliant, metav1.ConditionFalse, problem.Reason, problem.Message)
	case len(v.Result.Exempted()) > 0:
		set(v1alpha1.ConditionPolicyCompliant, metav1.ConditionTrue, v1alpha1.ReasonExempt, notes(v.Result))
	default:
		set(v1alpha1.ConditionPolicyCompliant, metav1.ConditionTrue, v1alpha1.ReasonCompliant, notes(v.Result))
	}
}

func (t Turn) setReleased(set setter) {
	problem := t.problem()
	switch {
	case problem != nil:
		set(v1alpha1.ConditionReleased, metav1.ConditionFalse, problem.Reason, problem.Message)
	case t.Result.Retry != nil:
		set(v1alpha1.ConditionReleased, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, sentence(t.Result.Retry.Error()))
	case len(t.Result.Conflicts) > 0:
		set(v1alpha1.ConditionReleased, metav1.ConditionFalse, v1alpha1.ReasonContested, conflictMessage(t.Result.Conflicts))
	default:
		set(v1alpha1.ConditionReleased, metav1.ConditionTrue, v1alpha1.ReasonReleased, fmt.Sprintf("Revision %d.", t.current().Revision))
	}
}

// setUpToDate tells whether an upgrade of the operator is pending. While that is not known, the condition stays as it was.
func (t Turn) setUpToDate(set setter) {
	switch {
	case t.Plan.Hold == HoldWaitsForStop:
		set(v1alpha1.ConditionUpToDate, metav1.ConditionFalse, v1alpha1.ReasonWaitsForStop,
			"An operator upgrade is pending for this server. It is applied when the server stops or its spec changes.")
	case t.problem() == nil && t.Result.Retry == nil:
		set(v1alpha1.ConditionUpToDate, metav1.ConditionTrue, v1alpha1.ReasonUpToDate, "")
	}
}

func setCondition(status *v1alpha1.JupyterServerStatus, now metav1.Time, kind string, value metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: kind, Status: value, Reason: reason, Message: message,
		ObservedGeneration: status.ObservedGeneration, LastTransitionTime: now,
	})
}

func conditionStatus(v bool) metav1.ConditionStatus {
	if v {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// conflictMessage says what changes which objects, and what to do. It holds nothing that changes while the conflict lasts,
// because every other message is a write.
func conflictMessage(conflicts []backoff.Conflict) string {
	parts := make([]string, len(conflicts))
	for i, conflict := range conflicts {
		parts[i] = conflict.Key.String() + " " + describe(conflict.Source)
	}
	return sentence("another client keeps changing objects of the server, so the operator backs off before reverting them: " +
		strings.Join(parts, "; ") + ". Stop that client, or set the values with spec.patches")
}

func describe(source *objects.Source) string {
	switch {
	case source == nil:
		return "is changed by an unknown client"
	case source.Deleted:
		return "is deleted (the API server's audit log has the client)"
	case len(source.Managers) > 0:
		return fmt.Sprintf("has %s set by %s", enumerate(source.Fields), enumerate(source.Managers))
	case source.Admission:
		return "is changed while it is applied (by a mutating admission webhook or policy)"
	}
	return "has fields removed (the API server's audit log has the client)"
}

// enumerate names three of a list, and how many more there are.
func enumerate(list []string) string {
	if more := len(list) - 3; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), more)
	}
	return strings.Join(list, ", ")
}
