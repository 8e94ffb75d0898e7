// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// released are the facts of a running server whose spec is what is released. Tests change them.
func released(changes ...func(*Facts)) Facts {
	f := Facts{
		Spec:    Digests{Input: "input", Spec: "spec"},
		Current: &v1alpha1.ReleaseStatus{Name: "alice", Revision: 3, InputDigest: "input", SpecDigest: "spec", GoodRevision: 2},
		Set:     SetScaled,
		Pod:     Pod{Status: &v1alpha1.PodStatus{Name: "alice-0"}, Ready: true, Current: true, Runs: true},
	}
	for _, change := range changes {
		change(&f)
	}
	return f
}

func notReleased(f *Facts) { f.Current, f.Set, f.Pod = nil, SetAbsent, Pod{} }

func blocked(f *Facts) { f.Problem, f.Spec = &Problem{Reason: "ReferenceNotFound"}, Digests{} }

func denied(f *Facts) { f.Problem, f.Spec = &Problem{Reason: "AuthNone", Denied: true}, Digests{} }

func suspended(f *Facts) {
	f.Intent = IntentOf(&v1alpha1.JupyterServer{Spec: v1alpha1.JupyterServerSpec{Suspend: true}})
}

func set(state SetState) func(*Facts) { return func(f *Facts) { f.Set = state } }

func edited(f *Facts) { f.Spec = Digests{Input: "edited input", Spec: "edited spec"} }

func operatorChanged(f *Facts) { f.Spec.Input = "input of another operator" }

func stopped(f *Facts) { f.Pod = Pod{} }

func currentGone(f *Facts) { f.CurrentGone = true }

// rolledBack has the spec be the one that was rolled back.
func rolledBack(f *Facts) {
	f.Current.RolledBack = &v1alpha1.RolledBack{Revision: 2, InputDigest: "bad input", SpecDigest: "bad spec"}
	f.Spec = Digests{Input: "bad input", Spec: "bad spec"}
}

// failing has the current revision fail for long enough, and an older one be good.
func failing(f *Facts) {
	f.Upgrades.Rollback, f.Upgrades.RollbackAfter = true, time.Minute
	f.Pod.Ready, f.Pod.Runs, f.Pod.Failing, f.Pod.FailingFor = false, false, true, time.Minute
}

func TestDecide(t *testing.T) {
	type plan struct {
		target Target
		hold   Hold
		stop   bool
		ask    bool
	}
	tests := []struct {
		reason string
		facts  Facts
		want   plan
	}{
		// The spec is followed.
		{"a first install", released(notReleased), plan{target: TargetSpec}},
		{"nothing changed", released(), plan{target: TargetSpec}},
		{"an edit is applied although Jupyter runs", released(edited), plan{target: TargetSpec}},
		{"a suspended server is stopped", released(edited, suspended), plan{target: TargetSpec, stop: true}},
		{"what drifted is reverted, whatever the StatefulSet says", released(set(SetStopped)), plan{target: TargetSpec}},

		// An upgrade of the operator waits.
		{"an operator upgrade waits while Jupyter runs", released(operatorChanged), plan{target: TargetCurrent, hold: HoldWaitsForStop}},
		{"an operator upgrade is applied once Jupyter stopped", released(operatorChanged, stopped), plan{target: TargetSpec}},
		{"an operator upgrade that leaves the pod alone is applied", released(operatorChanged, func(f *Facts) { f.SamePod = true }), plan{target: TargetSpec}},
		{"the administrator wants upgrades to restart servers", released(operatorChanged, func(f *Facts) { f.Upgrades.RestartRunning = true }), plan{target: TargetSpec}},
		{"an edit takes a waiting operator upgrade along", released(operatorChanged, edited), plan{target: TargetSpec}},
		{"the record of what runs is gone, so nothing is touched", released(operatorChanged, currentGone), plan{target: TargetNone, hold: HoldWaitsForStop}},
		{"a lost record does not make pods look alike", released(operatorChanged, currentGone, func(f *Facts) { f.SamePod = true }), plan{target: TargetNone, hold: HoldWaitsForStop}},
		{"a server that waits can be stopped", released(operatorChanged, suspended), plan{target: TargetCurrent, hold: HoldWaitsForStop, stop: true}},

		// The spec has a problem.
		{"a spec with a problem installs nothing", released(notReleased, blocked), plan{target: TargetNone, hold: HoldBlocked}},
		{"a suspended server that was never released has nothing to stop", released(notReleased, blocked, suspended), plan{target: TargetNone, hold: HoldBlocked}},
		{"a released server stays as it was", released(blocked), plan{target: TargetCurrent, hold: HoldBlocked}},
		{"a denied server that runs stays as it was", released(denied), plan{target: TargetCurrent, hold: HoldBlocked}},
		{"a problem hides a waiting operator upgrade", released(blocked, operatorChanged), plan{target: TargetCurrent, hold: HoldBlocked}},
		{"suspend stops a server whatever its problem", released(blocked, suspended), plan{target: TargetNone, hold: HoldBlocked, stop: true}},
		{"a stopped server stays stopped", released(blocked, stopped, set(SetStopped)), plan{target: TargetNone, hold: HoldBlocked}},
		{"a StatefulSet of another owner is not touched", released(blocked, stopped, set(SetForeign)), plan{target: TargetNone, hold: HoldBlocked}},
		{"a deleted StatefulSet comes back if the policies allow it", released(blocked, stopped, set(SetAbsent)), plan{target: TargetCurrent, hold: HoldBlocked, ask: true}},
		{"a deleted StatefulSet of a denied server does not come back", released(denied, stopped, set(SetAbsent)), plan{target: TargetNone, hold: HoldBlocked}},
		{"a deleted StatefulSet that the policies deny today does not come back", released(blocked, stopped, set(SetAbsent), func(f *Facts) { f.CurrentDenied = true }), plan{target: TargetNone, hold: HoldBlocked}},
		{"a route that the spec gives up is only taken again if it is free", released(blocked, func(f *Facts) { f.LeavesRoute = true }), plan{target: TargetCurrent, hold: HoldBlocked, ask: true}},
		{"a revision that the API server rejects is not tried again", released(blocked, func(f *Facts) { f.CurrentDenied = true }), plan{target: TargetNone, hold: HoldBlocked}},
		{"a lost record cannot be reapplied", released(blocked, currentGone), plan{target: TargetNone, hold: HoldBlocked}},
		{"a server with a problem is not rolled back", released(blocked, failing), plan{target: TargetCurrent, hold: HoldBlocked}},

		// A revision does not start.
		{"a failing revision is rolled back", released(failing), plan{target: TargetGood, hold: HoldRolledBack, ask: true}},
		{"a failing revision that waits for an operator upgrade is rolled back", released(failing, operatorChanged, func(f *Facts) { f.Pod.Runs = true }), plan{target: TargetGood, hold: HoldRolledBack, ask: true}},
		{"a revision that fails for a moment is not rolled back yet", released(failing, func(f *Facts) { f.Pod.FailingFor = time.Second }), plan{target: TargetSpec}},
		{"rollback is off", released(failing, func(f *Facts) { f.Upgrades.Rollback = false }), plan{target: TargetSpec}},
		{"a first revision has nothing to roll back to", released(failing, func(f *Facts) { f.Current.GoodRevision = 0 }), plan{target: TargetSpec}},
		{"a revision that was good is not rolled back to itself", released(failing, func(f *Facts) { f.Current.GoodRevision = 3 }), plan{target: TargetSpec}},
		{"a revision that does not fail is not rolled back", released(failing, func(f *Facts) { f.Pod.Failing, f.Pod.FailingFor, f.Upgrades.RollbackAfter = false, 0, 0 }), plan{target: TargetSpec}},
		{"what was rolled back to is not rolled back again once the spec asks for it", released(rolledBack, failing, func(f *Facts) { f.Spec = Digests{Input: "input", Spec: "spec"} }), plan{target: TargetSpec}},
		{"a correction comes before a rollback", released(failing, edited), plan{target: TargetSpec}},
		{"a server that is to be stopped is not rolled back", released(failing, suspended), plan{target: TargetSpec, stop: true}},
		{"a rollback that the policies deny leaves the revision", released(failing, func(f *Facts) { f.NoRollback = "denied" }), plan{target: TargetSpec}},
		{"what was rolled back to is not rolled back again", released(rolledBack, failing), plan{target: TargetCurrent, hold: HoldRolledBack}},

		// After a rollback.
		{"a spec that was rolled back is not tried again", released(rolledBack), plan{target: TargetCurrent, hold: HoldRolledBack}},
		{"a correction is applied", released(rolledBack, edited), plan{target: TargetSpec}},
		{"the spec is corrected to what was rolled back to", released(rolledBack, func(f *Facts) { f.Spec = Digests{Input: "input", Spec: "spec"} }), plan{target: TargetSpec}},
		{"an operator upgrade does not retry the spec while Jupyter runs", released(rolledBack, operatorChanged), plan{target: TargetCurrent, hold: HoldRolledBack}},
		{"an operator upgrade retries the spec once Jupyter stopped", released(rolledBack, operatorChanged, stopped), plan{target: TargetSpec}},
		{"an operator upgrade retries the spec if that restarts nothing", released(rolledBack, operatorChanged, func(f *Facts) { f.SamePod = true }), plan{target: TargetSpec}},
		{"an operator upgrade of the spec that runs does not restart it", released(rolledBack, func(f *Facts) { f.Spec = Digests{Input: "other", Spec: "spec"} }), plan{target: TargetCurrent, hold: HoldRolledBack}},
		{"without its record the running revision is left alone", released(rolledBack, currentGone), plan{target: TargetNone, hold: HoldRolledBack}},
		{"without its record and a pod, the spec is tried again", released(rolledBack, currentGone, stopped), plan{target: TargetSpec}},
		{"a rolled-back server can be stopped", released(rolledBack, suspended), plan{target: TargetCurrent, hold: HoldRolledBack, stop: true}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			p := Decide(test.facts)
			if got := (plan{p.Target, p.Hold, p.Stop, p.Ask}); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if p.Why == "" {
				t.Error("the plan names no rule")
			}
		})
	}
}

// everyFacts calls visit with all combinations of facts that can hold at the same time.
func everyFacts(visit func(Facts)) (n int) {
	const flags = 15
	for bits := range 1 << flags {
		on := func(i int) bool { return bits>>i&1 == 1 }
		sameInputs, sameSpec, backInputs, backSpec, isBack, hasRelease := on(0), on(1), on(2), on(3), on(4), on(5)
		problem, isDenied, isFailing := on(6), on(7), on(8)
		switch {
		case isDenied && !problem, sameInputs && !sameSpec, backInputs && !backSpec, backInputs && sameInputs,
			!isBack && (backInputs || backSpec), !hasRelease && (sameInputs || sameSpec || isBack || isFailing || on(9) || on(10) || on(11)):
			continue
		}
		for _, state := range []SetState{SetAbsent, SetScaled, SetStopped, SetForeign} {
			for _, noRollback := range []string{"", "denied"} {
				f := Facts{
					Spec: Digests{Input: "input", Spec: "spec"}, Set: state, LeavesRoute: on(11), SamePod: on(12),
					Pod:         Pod{Runs: on(13), Failing: isFailing, FailingFor: time.Minute},
					Upgrades:    Upgrades{RestartRunning: on(14), Rollback: true, RollbackAfter: time.Minute},
					CurrentGone: on(9), CurrentDenied: on(10), NoRollback: noRollback,
				}
				if problem {
					f.Problem = &Problem{Reason: "Problem", Denied: isDenied}
				}
				if hasRelease {
					f.Current = &v1alpha1.ReleaseStatus{Revision: 3, GoodRevision: 2, InputDigest: either(sameInputs, "input"), SpecDigest: either(sameSpec, "spec")}
				}
				if isBack {
					f.Current.RolledBack = &v1alpha1.RolledBack{Revision: 2, InputDigest: either(backInputs, "input"), SpecDigest: either(backSpec, "spec")}
				}
				for _, f.Intent.Stop = range []bool{false, true} {
					n++
					visit(f)
				}
			}
		}
	}
	return n
}

func either(same bool, digest string) string {
	if same {
		return digest
	}
	return "other"
}

func TestDecideKeepsItsPromises(t *testing.T) {
	n := everyFacts(func(f Facts) {
		p := Decide(f)
		onlyOperatorChanged := f.Current != nil && f.Current.SpecDigest == f.Spec.Spec && f.Current.InputDigest != f.Spec.Input
		for _, law := range []struct {
			says  string
			holds bool
		}{
			{"a spec with a problem is not applied", f.Problem == nil || p.Target != TargetSpec},
			{"a denied spec starts no pod", f.Problem == nil || !f.Problem.Denied || f.Set == SetScaled || p.Target == TargetNone},
			{"a stopped pod is not started while the spec has a problem", f.Problem == nil || f.Set != SetStopped || p.Target == TargetNone},
			{"a StatefulSet of another owner is not replaced while the spec has a problem", f.Problem == nil || f.Set != SetForeign || p.Target == TargetNone},
			{"the operator's own upgrade does not interrupt work", !onlyOperatorChanged || !f.Pod.Runs || f.SamePod || f.Upgrades.RestartRunning || p.Target != TargetSpec},
			{"without a release there is nothing to keep", f.Current != nil || p.Target == TargetSpec || p.Target == TargetNone},
			{"a record that is gone is not applied", !f.CurrentGone || p.Target != TargetCurrent},
			{"a released server is stopped whatever its problem", !f.Intent.Stop || f.Current == nil || p.Stop},
			{"a server that is to run is not stopped", f.Intent.Stop || !p.Stop},
			{"a target other than the spec has a reason", p.Target == TargetSpec || p.Hold != HoldNone},
			{"the spec is only followed without a hold", p.Target != TargetSpec || p.Hold == HoldNone},
			{"a rollback asks the policies", p.Target != TargetGood || p.Ask},
			{"a rollback that cannot be done is not tried again", f.NoRollback == "" || p.Target != TargetGood},
			{"a pod or a route that would be created again asks the policies", f.Problem == nil || p.Target != TargetCurrent || p.Ask == (f.Set == SetAbsent || f.LeavesRoute)},
			{"the same spec is not tried again after it was rolled back while what was rolled back to runs", f.Current == nil || f.Current.RolledBack == nil ||
				f.Current.RolledBack.InputDigest != f.Spec.Input || f.Current.InputDigest == f.Spec.Input || !f.Pod.Runs || p.Target != TargetSpec},
			{"the plan names its rule", p.Why != ""},
		} {
			if !law.holds {
				t.Fatalf("%s: %+v -> %+v", law.says, f, p)
			}
		}
	})
	t.Logf("%d combinations of facts", n)
}

// Each setback takes an option away, so a turn decides a bounded number of times.
func TestDecideEnds(t *testing.T) {
	const most = 4
	longest := 0
	everyFacts(func(f Facts) {
		rounds := 1
		for p := Decide(f); p.Target != TargetNone; p = Decide(f) {
			if rounds++; rounds > most {
				t.Fatalf("no end after %d rounds: %+v", rounds, f)
			}
			f = f.After(setbackOf(p))
		}
		longest = max(longest, rounds)
	})
	t.Logf("at most %d rounds", longest)
}

// setbackOf is the worst that can happen to a plan.
func setbackOf(p Plan) Setback {
	switch p.Target {
	case TargetSpec:
		return Setback{SpecRejected: &Problem{Reason: "ApplyRefused"}}
	case TargetGood:
		return Setback{NoRollback: "denied"}
	default:
		return Setback{CurrentRejected: &Problem{Reason: "ApplyRefused"}}
	}
}

func TestCanRollBack(t *testing.T) {
	for reason, test := range map[string]struct {
		facts Facts
		want  bool
	}{
		"an older revision was good": {released(failing), true},
		"there is no release":        {released(failing, notReleased), false},
	} {
		if got := test.facts.CanRollBack(); got != test.want {
			t.Errorf("%s: %t, want %t", reason, got, test.want)
		}
	}
}

func TestComparesPods(t *testing.T) {
	restartRunning := func(f *Facts) { f.Upgrades.RestartRunning = true }
	tests := []struct {
		reason string
		facts  Facts
		want   bool
	}{
		{"only the operator changed, and Jupyter runs", released(operatorChanged), true},
		{"Jupyter does not run", released(operatorChanged, stopped), false},
		{"running servers are restarted anyway", released(operatorChanged, restartRunning), false},
		{"nothing changed", released(), false},
		{"the spec changed", released(edited), false},
		{"a first install", released(notReleased), false},
		{"the spec has a problem", released(operatorChanged, blocked), false},
		{"an operator upgrade after a rollback", released(rolledBack, operatorChanged), true},
		{"the spec that was rolled back", released(rolledBack), false},
	}
	for _, test := range tests {
		if got := test.facts.ComparesPods(); got != test.want {
			t.Errorf("%s: %t, want %t", test.reason, got, test.want)
		}
	}
}
