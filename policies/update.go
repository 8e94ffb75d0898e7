// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"reflect"
)

// downgradeExisting turns denials of an update into warnings if the server was not better before. A server that violates a new
// rule can then be fixed step by step, and suspended.
func (e *Evaluator) downgradeExisting(ctx context.Context, in Input, verdicts []Verdict) ([]Verdict, error) {
	if in.Operation != Update || in.OldObject == nil || !(Result{verdicts}).Denied() {
		return verdicts, nil
	}
	if onlySuspends(in) {
		return downgrade(verdicts, func(Verdict) bool { return true }), nil
	}
	before, known := in.before()
	if !known {
		return verdicts, nil
	}
	old, err := e.runRules(ctx, before)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return verdicts, nil //nolint:nilerr // without verdicts on the old server, the new one is evaluated like a new server
	}
	return downgrade(verdicts, func(v Verdict) bool { return v.ID != oidcIntact && isNotWorse(v, old) }), nil
}

// oidcIntact is the rule that is never downgraded: a server with a broken access control is open.
const oidcIntact = "oidc-intact"

// before returns the input of the old server.
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

// onlySuspends reports whether the update only stops the pod. It checks the rendered replicas, because a patch could keep the pod
// running.
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

// isNotWorse reports whether the server had the same or a worse violation before. Paths are not compared: they shift when a list
// gets shorter.
func isNotWorse(v Verdict, old []Verdict) bool {
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

func downgrade(verdicts []Verdict, match func(Verdict) bool) []Verdict {
	out := make([]Verdict, len(verdicts))
	for i, v := range verdicts {
		if v.Severity == Deny && match(v) {
			v.Severity = Warn
			v.Message += " (existed before this change, so it is only a warning)"
		}
		out[i] = v
	}
	return out
}
