// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/backoff"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// after returns a turn that follows what Decide plans for facts.
func after(f Facts, changes ...func(*Turn)) Turn {
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "alice", UID: "1", Generation: 7}}
	server.Status.URL = "http://released/alice/"
	f.URL = "http://wanted/alice/"
	f.Verdict.Asked = true
	t := Turn{Server: server, Facts: f, Plan: Decide(f), Now: metav1.NewTime(time.Unix(1000, 0))}
	if t.Plan.Target == TargetSpec {
		t.Result.Release = f.Current
	}
	for _, change := range changes {
		change(&t)
	}
	return t
}

func finding(severity diagnosis.Severity) func(*Facts) {
	return func(f *Facts) {
		f.Pod.Finding = &diagnosis.Finding{Reason: "ImagePullBackOff", Message: "The image is missing.", Severity: severity}
	}
}

func unready(f *Facts) { f.Pod.Ready, f.Pod.Runs = false, false }

func replaced(t *Turn) { t.Result.PodReplaced = true }

func fails(t *Turn) { t.Result.Retry = errors.New("the API server is down") }

func contested(t *Turn) {
	t.Result.Conflicts = []backoff.Conflict{{
		Key:    objects.Key{Kind: "Service", Name: "alice"},
		Source: &objects.Source{Managers: []string{"kubectl-edit"}, Fields: []string{"a", "b", "c", "d"}},
	}}
}

func TestStatus(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	type conditions struct{ ready, reconciling, stalled, released metav1.ConditionStatus }
	progressing := conditions{no, yes, no, yes}
	tests := []struct {
		reason  string
		turn    Turn
		state   v1alpha1.State
		why     string // the reason of Ready
		want    conditions
		message string // a part of it
	}{
		{"the server answers", after(released()), v1alpha1.StateRunning, "Running", conditions{yes, no, no, yes}, ""},
		{"the pod was replaced just now", after(released(), replaced), v1alpha1.StateStarting, "Starting", progressing, "Starting the pod."},
		{"the pod is not of the newest revision", after(released(func(f *Facts) { f.Pod.Current = false })), v1alpha1.StateStarting, "Starting", progressing, ""},
		{"the pod is on its way", after(released(unready, finding(diagnosis.Progressing))), v1alpha1.StateStarting, "ImagePullBackOff", progressing, "The image is missing."},
		{"the pod cannot start", after(released(unready, finding(diagnosis.Degraded))), v1alpha1.StateFailed, "ImagePullBackOff", progressing, "The image is missing."},
		{"what was wrong with a pod that was replaced does not count", after(released(unready, finding(diagnosis.Degraded)), replaced), v1alpha1.StateStarting, "Starting", progressing, "Starting the pod."},
		{"a rollback is impossible", after(released(failing, finding(diagnosis.Degraded), func(f *Facts) { f.NoRollback = "The record is gone." })),
			v1alpha1.StateFailed, "ImagePullBackOff", progressing, "It cannot be rolled back: The record is gone."},
		{"the provider is down", after(released(finding(diagnosis.Progressing))), v1alpha1.StateRunning, "ImagePullBackOff", conditions{yes, no, no, yes}, "missing"},
		{"the provider rejects the client", after(released(finding(diagnosis.Degraded))), v1alpha1.StateFailed, "ImagePullBackOff", conditions{no, no, no, yes}, "missing"},
		{"the pod is being stopped", after(released(suspended)), v1alpha1.StateSuspending, "Suspending", progressing, "files are kept"},
		{"the server is suspended", after(released(suspended, stopped)), v1alpha1.StateSuspended, "Suspended", conditions{yes, no, no, yes}, "spec.suspend to false"},
		{"the API server is down", after(released(), fails), v1alpha1.StateRunning, "ApplyFailed", conditions{no, yes, no, no}, "The API server is down; retrying."},
		{"a first install fails", after(released(notReleased), fails), v1alpha1.StatePending, "ApplyFailed", conditions{no, yes, no, no}, ""},
		{"another client changes a Service", after(released(), contested), v1alpha1.StateRunning, "Running", conditions{yes, yes, no, no}, "Service alice has a, b, c and 1 more set by kubectl-edit"},
		{"a spec with a problem was never released", after(released(notReleased, blocked)), v1alpha1.StateFailed, "ReferenceNotFound", conditions{no, no, yes, no}, ""},
		{"a running server whose spec has a problem", after(released(blocked)), v1alpha1.StateRunning, "ReferenceNotFound", conditions{no, no, yes, no}, "previous revision keeps running"},
		{"its pod does not run either", after(released(blocked, unready, finding(diagnosis.Degraded))), v1alpha1.StateFailed, "ReferenceNotFound", conditions{no, no, yes, no}, "Also: The image is missing."},
		{"its StatefulSet is gone, and may not come back", after(released(denied, stopped, set(SetAbsent))), v1alpha1.StateFailed, "AuthNone", conditions{no, no, yes, no}, "has no pod"},
		{"it was stopped", after(released(blocked, stopped, set(SetStopped))), v1alpha1.StateFailed, "ReferenceNotFound", conditions{no, no, yes, no}, "stays stopped"},
		{"it is stopped now", after(released(blocked, suspended, stopped)), v1alpha1.StateSuspended, "ReferenceNotFound", conditions{no, no, yes, no}, "stopped (spec.suspend)"},
		{"conflicts of a server with a problem are not reported", after(released(blocked), contested), v1alpha1.StateRunning, "ReferenceNotFound", conditions{no, no, yes, no}, ""},
		{"a server that waits for a stop is in order", after(released(operatorChanged)), v1alpha1.StateRunning, "Running", conditions{yes, no, no, yes}, ""},
		{"the spec was rolled back", after(released(rolledBack)), v1alpha1.StateRunning, "RolledBack", conditions{no, no, yes, no}, "Revision 2 did not start and was rolled back"},
		{"what was rolled back to is stopped", after(released(rolledBack, suspended, stopped)), v1alpha1.StateSuspended, "RolledBack", conditions{no, no, yes, no}, "stopped (spec.suspend)"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got := Status(test.turn)
			status := func(kind string) metav1.ConditionStatus { return meta.FindStatusCondition(got.Conditions, kind).Status }
			have := conditions{status(v1alpha1.ConditionReady), status(v1alpha1.ConditionReconciling), status(v1alpha1.ConditionStalled), status(v1alpha1.ConditionReleased)}
			if why := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady).Reason; got.State != test.state || why != test.why || have != test.want {
				t.Errorf("%s, %s, %+v; want %s, %s, %+v", got.State, why, have, test.state, test.why, test.want)
			}
			if !strings.Contains(got.Message, test.message) {
				t.Errorf("message %q, want %q in it", got.Message, test.message)
			}
		})
	}
}

func TestStatusOfTheRelease(t *testing.T) {
	newer := func(t *Turn) {
		t.Result.Result = release.Result{State: release.Outdated, Release: &v1alpha1.ReleaseStatus{Name: "alice", Revision: 4, GoodRevision: 2, RecordDigest: "four"}, PodReplaced: true}
	}
	tests := []struct {
		reason     string
		turn       Turn
		revision   int
		good       int
		generation int64
		url        string
	}{
		{"the server is ready with its revision, so that is good", after(released()), 3, 3, 7, "http://wanted/alice/"},
		{"a new revision is not good yet", after(released(edited), newer), 4, 2, 7, "http://wanted/alice/"},
		{"a suspended server proves nothing", after(released(suspended)), 3, 2, 7, "http://wanted/alice/"},
		{"an error proves nothing, and the server is where it was", after(released(), fails), 3, 2, 0, "http://released/alice/"},
		{"facts that could not be gathered do not move a server", Turn{Server: after(released()).Server, Facts: released(), Result: Result{Retry: errors.New("no answer")}}, 3, 2, 0, "http://released/alice/"},
		{"a spec with a problem is not released", after(released(blocked)), 3, 3, 0, "http://released/alice/"},
		{"a server that waits for a stop holds its spec", after(released(operatorChanged)), 3, 3, 7, "http://wanted/alice/"},
		{"after a rollback the server is where the old spec says", after(released(rolledBack)), 3, 3, 0, "http://released/alice/"},
		{"a rollback moves the server", after(released(failing, func(f *Facts) { f.Pod.Finding = nil }), newer, func(t *Turn) { t.Result.URL = "http://former/" }), 4, 2, 0, "http://former/"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got := Status(test.turn)
			if got.Release.Revision != test.revision || got.Release.GoodRevision != test.good || got.Release.Generation != test.generation || got.URL != test.url {
				t.Errorf("revision %d, good %d, generation %d at %s", got.Release.Revision, got.Release.GoodRevision, got.Release.Generation, got.URL)
			}
		})
	}
}

func TestVerdictInStatus(t *testing.T) {
	denial := policies.Result{Verdicts: []policies.Verdict{
		{ID: "auth-none", Severity: policies.Deny, Path: "spec.auth.mode", Message: "mode none is not allowed", Remediation: "Use token."},
		{ID: "auth-none", Severity: policies.Deny}, {ID: "images", Severity: policies.Deny},
	}}
	tests := []struct {
		reason  string
		verdict Verdict
		status  metav1.ConditionStatus
		why     string
		message string
	}{
		{"the policies allow the spec", Verdict{Asked: true}, metav1.ConditionTrue, "Compliant", ""},
		{"the policies deny the spec", Verdict{Asked: true, Result: denial}, metav1.ConditionFalse, "AuthNone", "Mode none is not allowed (spec.auth.mode, rule auth-none). Use token. Also denied by: images."},
		{"the policies gave no answer", Verdict{Asked: true, Failure: &policies.EvaluationError{Err: errors.New("timeout")}}, metav1.ConditionUnknown, "PolicyError", "timeout"},
		{"the policies were not asked", Verdict{}, metav1.ConditionUnknown, "NotJudged", "not evaluated"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got := meta.FindStatusCondition(Status(after(released(), func(t *Turn) { t.Facts.Verdict = test.verdict })).Conditions, v1alpha1.ConditionPolicyCompliant)
			if got.Status != test.status || got.Reason != test.why || !strings.Contains(got.Message, test.message) {
				t.Errorf("got %s, %s, %q", got.Status, got.Reason, got.Message)
			}
		})
	}
}

// A verdict stays while another problem keeps the policies from being asked.
func TestVerdictStays(t *testing.T) {
	turn := after(released(blocked), func(t *Turn) { t.Facts.Verdict = Verdict{} })
	turn.Server.Status = Status(after(released()))
	if got := meta.FindStatusCondition(Status(turn).Conditions, v1alpha1.ConditionPolicyCompliant); got.Status != metav1.ConditionTrue {
		t.Errorf("got %s, %s", got.Status, got.Reason)
	}
}

func TestEvents(t *testing.T) {
	result := func(state release.State, revision int) func(*Turn) {
		return func(t *Turn) {
			t.Result.Result = release.Result{State: state, Release: &v1alpha1.ReleaseStatus{Name: "alice", Revision: revision, RolledBack: &v1alpha1.RolledBack{Revision: 3}}}
		}
	}
	tests := []struct {
		reason string
		turn   Turn
		want   string
	}{
		{"nothing was done", after(released(), result(release.InSync, 3)), ""},
		{"a first install", after(released(notReleased), result(release.Absent, 1)), "Installed"},
		{"an upgrade", after(released(edited), result(release.Outdated, 4)), "Upgraded"},
		{"drift was reverted", after(released(), result(release.Drifted, 3)), "DriftRepaired"},
		{"the records were checked", after(released(), result(release.Unchecked, 3)), ""},
		{"the release was recorded again", after(released(), result(release.Unchecked, 4)), "Recorded"},
		{"a rollback", after(released(failing), result(release.Outdated, 4)), "RolledBack"},
		{"keys were restored", after(released(blocked), func(t *Turn) { t.Result.Restored = []string{"token"} }), "SecretPutBack"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var got []string
			for _, event := range test.turn.Done() {
				got = append(got, event.Reason)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

func TestTransitions(t *testing.T) {
	running, failed := Status(after(released())), Status(after(released(unready, finding(diagnosis.Degraded))))
	denied := Status(after(released(denied), func(t *Turn) {
		t.Facts.Verdict = Verdict{Asked: true, Result: policies.Result{Verdicts: []policies.Verdict{{ID: "auth-none", Severity: policies.Deny}}}}
	}))
	tests := []struct {
		reason        string
		before, after v1alpha1.JupyterServerStatus
		want          string
	}{
		{"nothing changed", running, running, ""},
		{"the server answers for the first time", v1alpha1.JupyterServerStatus{}, running, "Running"},
		{"the server failed", running, failed, "ImagePullBackOff"},
		{"it still fails", failed, failed, ""},
		{"it answers again", failed, running, "Running"},
		{"the policies allow it again", denied, running, "Compliant"},
		{"another client interferes", running, Status(after(released(), contested)), "Contested"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var got []string
			for _, event := range Transitions(test.before, test.after) {
				got = append(got, event.Reason)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}
