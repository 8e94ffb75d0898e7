// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reconcile decides what a turn of the controller does with one server, and what its status says. Read decide.go
// first.
//
// It is pure: facts in, a plan, a status and events out. What may not live here: a client, a clock, a context, or any other
// package that reads or writes the cluster.
package reconcile

// Target is the revision that the cluster follows.
type Target string

// Targets. A rollback goes to TargetGood.
const (
	TargetNone    Target = "None"    // leave the objects as they are
	TargetSpec    Target = "Spec"    // what the spec renders to
	TargetCurrent Target = "Current" // the newest revision, read from its record
	TargetGood    Target = "Good"    // the newest revision with which the server was ready
)

// Hold is why the target is not the spec.
type Hold string

// Reasons to hold a spec back.
const (
	HoldNone         Hold = ""             // the spec is followed
	HoldBlocked      Hold = "Blocked"      // the spec has a problem; a server that was released stays as it was
	HoldWaitsForStop Hold = "WaitsForStop" // only the operator changed, and applying that would restart a running Jupyter
	HoldRolledBack   Hold = "RolledBack"   // the spec did not start and was rolled back
)

// Plan is what a turn does.
type Plan struct {
	Target Target // the revision to apply
	Hold   Hold   // why that is not the spec
	Stop   bool   // scale the StatefulSet to zero, whatever the target says
	Ask    bool   // ask the policies about the target first, because it starts a pod or takes a route
	Why    string // the rule that applied, for the log
}

// Decide picks the target. The first rule that applies wins.
//
//	a problem                 -> keep what is released, as far as that is possible
//	the spec was rolled back  -> keep the revision that was rolled back to
//	an operator upgrade       -> keep the current revision while Jupyter runs
//	otherwise                 -> follow the spec
//
// A revision that stays and does not start is rolled back instead.
func Decide(f Facts) Plan {
	plan := follow(f)
	stays := plan.Hold == HoldWaitsForStop || plan.Hold == HoldNone && f.sameInputs()
	if stays && f.rollbackIsDue() {
		return Plan{Target: TargetGood, Hold: HoldRolledBack, Ask: true, Why: "the current revision does not start"}
	}
	if plan.Target == TargetCurrent && f.CurrentGone {
		plan.Target, plan.Ask, plan.Why = TargetNone, false, plan.Why+", but the record of the current revision is gone"
	}
	return plan
}

func follow(f Facts) Plan {
	switch {
	case f.Problem != nil:
		return keep(f)
	case f.wasRolledBack() && !(f.CurrentGone && !f.Pod.Runs):
		return Plan{Target: TargetCurrent, Hold: HoldRolledBack, Stop: f.Intent.Stop, Why: "the spec was rolled back"}
	case f.waitsForStop():
		return Plan{Target: TargetCurrent, Hold: HoldWaitsForStop, Stop: f.Intent.Stop, Why: "only the operator changed, and Jupyter runs"}
	}
	return Plan{Target: TargetSpec, Stop: f.Intent.Stop, Why: "the spec can be applied"}
}

// keep plans for a spec with a problem: the current revision is reapplied, but a stopped pod is not started. The policies
// are asked about a revision whose pod or route would be created again.
func keep(f Facts) Plan {
	plan := Plan{Target: TargetNone, Hold: HoldBlocked}
	switch {
	case f.Current == nil:
		plan.Why = "the spec has a problem, and there is no release"
	case f.Intent.Stop:
		plan.Stop, plan.Why = true, "the spec has a problem, and the server is to be stopped"
	case f.CurrentDenied:
		plan.Why = "the spec has a problem, and the current revision cannot be reapplied"
	case f.Set == SetForeign:
		plan.Why = "the spec has a problem, and the StatefulSet belongs to another owner"
	case f.Set == SetStopped:
		plan.Why = "the spec has a problem, and the server was stopped"
	case f.Set == SetAbsent && f.Problem.Denied:
		plan.Why = "the spec is denied, and there is no StatefulSet"
	default:
		plan.Target, plan.Ask, plan.Why = TargetCurrent, f.Set == SetAbsent || f.LeavesRoute, "the spec has a problem"
	}
	return plan
}

// sameInputs reports whether the spec renders to what is released.
func (f Facts) sameInputs() bool { return f.Current != nil && f.Current.InputDigest == f.Spec.Input }

// sameSpec reports whether only the operator changed since the release.
func (f Facts) sameSpec() bool { return f.Current.SpecDigest == f.Spec.Spec }

// wasRolledBack reports whether the spec is one that did not start: the same inputs, or the same spec of another version of
// the operator that would restart a running Jupyter.
func (f Facts) wasRolledBack() bool {
	if f.Current == nil || f.Current.RolledBack == nil || f.sameInputs() {
		return false
	}
	back := f.Current.RolledBack
	sameSpec := f.sameSpec() || back.SpecDigest == f.Spec.Spec
	return back.InputDigest == f.Spec.Input || sameSpec && f.restartsJupyter()
}

// waitsForStop reports whether the spec renders to another pod for the operator's sake alone, and Jupyter runs.
func (f Facts) waitsForStop() bool {
	return f.Current != nil && !f.sameInputs() && f.sameSpec() && f.restartsJupyter()
}

// restartsJupyter reports whether an upgrade of the operator would restart a running Jupyter. Without the record of the
// current revision the pods cannot be compared.
func (f Facts) restartsJupyter() bool {
	return f.Pod.Runs && !f.Upgrades.RestartRunning && (!f.SamePod || f.CurrentGone)
}

// ComparesPods reports whether SamePod is needed to decide.
func (f Facts) ComparesPods() bool {
	same, other := f, f
	same.SamePod, other.SamePod = true, false
	return Decide(same) != Decide(other)
}

// CanRollBack reports whether a revision that does not start may be rolled back: rollback is on, and there is an older
// revision with which the server was ready.
func (f Facts) CanRollBack() bool {
	c := f.Current
	return c != nil && f.Upgrades.Rollback && c.RolledBack == nil && c.GoodRevision != 0 && c.GoodRevision != c.Revision && !f.Intent.Stop
}

// rollbackIsDue reports whether the current revision has been failing for long enough to be rolled back.
func (f Facts) rollbackIsDue() bool {
	return f.CanRollBack() && f.Pod.Failing && f.Pod.FailingFor >= f.Upgrades.RollbackAfter && f.NoRollback == ""
}
