// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"reflect"
)

// keepWhatWas turns refusals of an update into warnings where the server was no better before: somebody whose server a new rule
// forbids must be able to make it better step by step, and to suspend it.
func (e *Evaluator) keepWhatWas(ctx context.Context, in Input, verdicts []Verdict) ([]Verdict, error) {
	if in.Operation != Update || in.OldObject == nil || !(Result{verdicts}).Denied() {
		return verdicts, nil
	}
	if onlySuspends(in) {
		return soften(verdicts, func(Verdict) bool { return true }), nil
	}
	before, known := in.before()
	if !known {
		return verdicts, nil
	}
	old, err := e.judge(ctx, before)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return verdicts, nil //nolint:nilerr // nothing is known of the old server, so the new one has to stand for itself
	}
	return soften(verdicts, func(v Verdict) bool { return v.ID != oidcIntact && isNoWorse(v, old) }), nil
}

// oidcIntact is the rule that nothing softens: a server whose access control is broken is open.
const oidcIntact = "oidc-intact"

// before is the server as it was.
func (in Input) before() (before Input, known bool) {
	if in.RenderOld == nil {
		return Input{}, false
	}
	objects, expected, err := in.RenderOld()
	if err != nil {
		return Input{}, false
	}
	in.Object, in.Objects, in.Expected = in.OldObject, objects, expected
	in.OldObject, in.RenderOld = nil, nil
	return in, true
}

// onlySuspends says whether the update stops the pod and does nothing else. A patch could keep the pod running, so what is
// rendered counts.
func onlySuspends(in Input) bool {
	before, after := in.OldObject.Spec.DeepCopy(), in.Object.Spec.DeepCopy()
	if !after.Suspend || before.Suspend {
		return false
	}
	before.Suspend = true
	if !reflect.DeepEqual(before, after) {
		return false
	}
	for _, object := range in.Objects {
		spec, _ := object.Object["spec"].(map[string]any)
		if replicas, ok := spec["replicas"]; object.GetKind() == "StatefulSet" && (!ok || replicas != int64(0)) {
			return false
		}
	}
	return true
}

// isNoWorse says whether the server was refused for the same before. Paths do not count: they shift when a list gets shorter.
func isNoWorse(v Verdict, old []Verdict) bool {
	for _, was := range old {
		if was.ID != v.ID {
			continue
		}
		if was.Message == v.Message || v.excess > 0 && was.Path == v.Path && v.excess <= was.excess {
			return true
		}
	}
	return false
}

func soften(verdicts []Verdict, which func(Verdict) bool) []Verdict {
	out := make([]Verdict, len(verdicts))
	for i, v := range verdicts {
		if v.Severity == Deny && which(v) {
			v.Severity = Warn
			v.Message += " (it was so before this change, so the change is not refused)"
		}
		out[i] = v
	}
	return out
}
