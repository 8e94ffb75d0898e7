// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// act carries out a plan. A setback asks for another plan; an error of the result is worth another try.
//
// The order is a security property: what the spec refers to, the policies, a dry run, the credentials Secret, the objects. A spec
// that is rejected leaves no Secret.
func (c *Controller) act(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan) (result reconcile.Result, setback reconcile.Setback) {
	if plan.Target == reconcile.TargetSpec {
		return c.apply(ctx, t, facts, plan)
	}
	c.routes.GiveBack(t.server) // it stays where it is
	if plan.Target == reconcile.TargetNone && plan.Stop && facts.Set == reconcile.SetScaled {
		t.log.Info("Scaling the StatefulSet to zero", "by", facts.Intent.By)
		if result.Retry = c.releases.ScaleToZero(ctx, facts.StatefulSet); result.Retry != nil {
			return result, setback
		}
	}
	restored, err := c.keepCredentials(ctx, t, facts)
	switch {
	case err != nil:
		result.Retry = err
	case plan.Target != reconcile.TargetNone:
		result, setback = c.apply(ctx, t, facts, plan)
	}
	result.Restored = restored
	return result, setback
}

// refOf returns the release of a server whose newest revision is current.
func (c *Controller) refOf(t turn, current *v1alpha1.ReleaseStatus) release.Ref {
	return release.Ref{
		Ref:        gather.RefOf(t.server, current),
		Current:    current,
		Rejected:   meta.IsStatusConditionTrue(t.server.Status.Conditions, v1alpha1.ConditionStalled),
		Unreported: t.server.Status.ObservedGeneration != t.server.Generation,
	}
}

// apply applies the target of a plan, unless its objects are in order.
func (c *Controller) apply(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan) (reconcile.Result, reconcile.Setback) {
	ref := c.refOf(t, t.current)
	ref.Stop = plan.Stop
	inputs := fmt.Sprintf("spec %s, stop %t", facts.Inputs, plan.Stop)
	if plan.Target != reconcile.TargetSpec {
		inputs = fmt.Sprintf("revision %d, retain %t, stop %t", t.current.Revision, ref.Retain, plan.Stop)
	}
	if plan.Target == reconcile.TargetCurrent || plan.Target == reconcile.TargetSpec && facts.Rendered == nil { // else it is another one
		inOrder, lag, err := c.releases.InOrder(ctx, ref, &t.memo.release, inputs)
		if inOrder || err != nil {
			kept := release.Result{State: release.InSync, Release: t.current, After: lag}
			return reconcile.Result{Result: kept, Retry: err}, reconcile.Setback{}
		}
	}
	content, err := c.contentOf(ctx, t, ref, facts, plan.Target)
	if content == nil || err != nil {
		return reconcile.Result{Retry: err}, setbackOf(plan.Target, nil, err == nil)
	}
	result, problem, err := c.applyContent(ctx, t, ref, facts, plan, content, inputs)
	if problem != nil || err != nil {
		if plan.Target != reconcile.TargetSpec {
			c.routes.GiveBack(t.server)
		}
		return reconcile.Result{Retry: err}, setbackOf(plan.Target, problem, false)
	}
	if plan.Target == reconcile.TargetSpec || plan.Ask {
		c.routes.Keep(t.server)
	}
	c.applied(t, facts, plan, result.Result)
	return result, reconcile.Setback{}
}

// contentOf returns the revision that a target stands for. It is nil if its record is gone.
func (c *Controller) contentOf(ctx context.Context, t turn, ref release.Ref, facts gather.Facts, target reconcile.Target) (*render.Rendered, error) {
	switch {
	case target == reconcile.TargetGood:
		return c.releases.Good(ctx, ref)
	case target == reconcile.TargetCurrent && facts.Recorded == nil:
		return c.releases.Current(ctx, ref)
	case target == reconcile.TargetCurrent:
		return facts.Recorded, nil
	case facts.Rendered == nil:
		return c.gather.Renderer.Render(t.server, facts.References)
	}
	return facts.Rendered, nil
}

// applyContent applies a revision. What came of it is a result, a problem of the revision, or an error that is worth another try.
func (c *Controller) applyContent(ctx context.Context, t turn, ref release.Ref, facts gather.Facts, plan reconcile.Plan, content *render.Rendered, inputs string) (reconcile.Result, *reconcile.Problem, error) {
	var result reconcile.Result
	if plan.Target != reconcile.TargetSpec {
		former, problem, err := c.former(ctx, t, plan, content)
		if problem != nil || err != nil {
			return result, problem, err
		}
		ref.Retain = ref.Retain || former.Spec.Storage.Retain // in doubt, files are kept
		if plan.Hold == reconcile.HoldRolledBack {
			result.URL = c.gather.Renderer.URL(former)
		}
	}
	diff, err := c.releases.Diff(ctx, ref, &t.memo.release, content)
	if err == nil && plan.Target == reconcile.TargetSpec {
		err = c.rehearseAndWriteCredentials(ctx, t, ref, facts, &diff)
	}
	switch {
	case err != nil:
	case plan.Target == reconcile.TargetGood:
		result.Result, err = c.releases.RollBack(ctx, ref, &t.memo.release, content, diff, facts.Pod.Finding.Message)
		result.PodReplaced = true
	default:
		result.Result, err = c.releases.Follow(ctx, ref, &t.memo.release, content, diff, inputs)
	}
	if problem := reconcile.ProblemOf(err); problem != nil {
		return result, problem, nil
	}
	return result, nil, err
}

// former returns the server as a revision from a record has it. The policies are asked about it if the plan says so.
func (c *Controller) former(ctx context.Context, t turn, plan reconcile.Plan, content *render.Rendered) (*v1alpha1.JupyterServer, *reconcile.Problem, error) {
	former, err := gather.ServerOf(t.server, content)
	if err != nil || !plan.Ask {
		return former, nil, err
	}
	_, problem, err := c.gather.Evaluate(ctx, former, content)
	return former, problem, err
}

// rehearseAndWriteCredentials writes what the spec needs of the credentials Secret, once the API server accepts the objects.
func (c *Controller) rehearseAndWriteCredentials(ctx context.Context, t turn, ref release.Ref, facts gather.Facts, diff *release.Diff) error {
	if !facts.Credentials.Writes() {
		return nil
	}
	if diff.State != release.Absent {
		if err := c.releases.Rehearse(ctx, ref, &t.memo.release, diff); err != nil {
			return err
		}
	}
	return c.writeCredentials(ctx, t, facts.Credentials)
}

// setbackOf returns which option a problem with a target takes away, or a record that is gone.
func setbackOf(target reconcile.Target, problem *reconcile.Problem, gone bool) reconcile.Setback {
	switch {
	case gone && target == reconcile.TargetCurrent:
		return reconcile.Setback{CurrentGone: true}
	case gone:
		return reconcile.Setback{NoRollback: "The record of the revision that ran is gone."}
	case problem == nil:
		return reconcile.Setback{}
	case target == reconcile.TargetGood:
		return reconcile.Setback{NoRollback: problem.Message}
	case target == reconcile.TargetCurrent:
		return reconcile.Setback{CurrentRejected: problem}
	}
	return reconcile.Setback{SpecRejected: problem}
}

// applied remembers and logs what came of applying a revision.
func (c *Controller) applied(t turn, facts gather.Facts, plan reconcile.Plan, result release.Result) {
	t.memo.current = result.Release
	switch {
	case plan.Target == reconcile.TargetGood:
		t.log.Info("Rolled back", "from", t.current.Revision, "to", t.current.GoodRevision, "revision", result.Release.Revision)
		return
	case result.State != release.InSync:
		t.log.Info("Applied a revision", "found", result.State, "revision", result.Release.Revision, "changes", result.Summary)
	}
	c.gather.Keep(&t.memo.gather, facts, result.Release)
}

func (c *Controller) writeCredentials(ctx context.Context, t turn, plan credentials.Plan) error {
	err := credentials.Apply(ctx, c.client, c.gather.Live, plan)
	if err == nil {
		t.log.Info("Wrote the credentials Secret", "keys", plan.Restored)
	}
	return err
}

// keepCredentials writes what a spec needs that is only held back, or restores what the pod reads and was deleted. It returns
// the names of restored keys. A Secret that the API server rejects keeps nothing else from being reverted, nor does one that the
// informers lag behind, which wakes the server.
func (c *Controller) keepCredentials(ctx context.Context, t turn, facts gather.Facts) (restored []string, err error) {
	if t.current == nil {
		return nil, nil
	}
	ignored := func(err error) bool { return reconcile.ProblemOf(err) != nil || errors.Is(err, credentials.ErrStale) }
	if facts.Problem == nil && facts.Credentials.Writes() {
		if err = c.writeCredentials(ctx, t, facts.Credentials); !ignored(err) {
			return nil, err
		}
	}
	if !facts.Restore.Writes() {
		return nil, nil
	}
	switch err = c.writeCredentials(ctx, t, facts.Restore); {
	case ignored(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return facts.Restore.Restored, nil
}
