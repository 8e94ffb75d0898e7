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

// act carries out a plan. A setback asks for another plan; an error is worth another try.
//
// The order is a security property: what the spec refers to, the policies, a dry run, the credentials Secret, the objects. A spec
// that is rejected leaves no Secret.
func (c *Controller) act(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan) (reconcile.Result, reconcile.Setback, error) {
	if plan.Target == reconcile.TargetSpec {
		return c.applySpec(ctx, t, facts, plan)
	}
	c.routes.GiveBack(t.server) // it stays where it is
	var result reconcile.Result
	if plan.Target == reconcile.TargetNone && plan.Stop {
		result.Stopped = true
		if facts.Set == reconcile.SetScaled {
			t.log.Info("Scaling the StatefulSet to zero", "by", facts.Intent.By)
			if err := c.releases.ScaleToZero(ctx, facts.StatefulSet); err != nil {
				return result, nil, err
			}
		}
	}
	restored, err := c.keepCredentials(ctx, t, facts)
	if err != nil {
		return result, nil, err
	}
	var setback reconcile.Setback
	switch plan.Target {
	case reconcile.TargetCurrent:
		result, setback, err = c.applyCurrent(ctx, t, facts, plan)
	case reconcile.TargetGood:
		result, setback, err = c.rollBack(ctx, t, facts, plan)
	case reconcile.TargetNone, reconcile.TargetSpec:
	}
	result.Restored = restored
	return result, setback, err
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

// applySpec applies what the spec renders to.
func (c *Controller) applySpec(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan) (reconcile.Result, reconcile.Setback, error) {
	ref := c.refOf(t, t.current)
	ref.Stop = plan.Stop
	inputs := fmt.Sprintf("spec %s, stop %t", facts.Inputs, plan.Stop)
	if facts.Rendered == nil { // unchanged
		if inOrder, result, err := c.inOrder(ctx, t, ref, inputs); inOrder || err != nil {
			return result, nil, err
		}
		var err error
		if facts.Rendered, err = c.gather.Renderer.Render(t.server, facts.References); err != nil {
			return reconcile.Result{}, nil, err
		}
	}
	result, err := c.applyRendered(ctx, t, ref, facts, inputs)
	if problem := reconcile.ProblemOf(err); problem != nil {
		return reconcile.Result{}, reconcile.SpecRejected{Problem: *problem}, nil
	}
	if err != nil {
		return reconcile.Result{}, nil, err
	}
	c.routes.Keep(t.server)
	c.followed(t, facts, result.Result)
	return result, nil, nil
}

func (c *Controller) applyRendered(ctx context.Context, t turn, ref release.Ref, facts gather.Facts, inputs string) (reconcile.Result, error) {
	diff, err := c.releases.Diff(ctx, ref, &t.memo.release, facts.Rendered)
	if err != nil {
		return reconcile.Result{}, err
	}
	if facts.Credentials.Writes() {
		if diff.State != release.Absent {
			if err := c.releases.Rehearse(ctx, ref, &t.memo.release, &diff); err != nil {
				return reconcile.Result{}, err
			}
		}
		if err := c.writeCredentials(ctx, t, facts.Credentials); err != nil {
			return reconcile.Result{}, err
		}
	}
	result, err := c.releases.Follow(ctx, ref, &t.memo.release, facts.Rendered, diff, inputs)
	return reconcile.Result{Result: result}, err
}

// inOrder reports whether nothing has to be done about the objects.
func (c *Controller) inOrder(ctx context.Context, t turn, ref release.Ref, inputs string) (bool, reconcile.Result, error) {
	inOrder, lag, err := c.releases.InOrder(ctx, ref, &t.memo.release, inputs)
	result := release.Result{State: release.InSync, Release: t.current, PodReplaced: lag > 0, After: lag}
	return inOrder, reconcile.Result{Result: result}, err
}

// followed remembers and logs what came of following a revision.
func (c *Controller) followed(t turn, facts gather.Facts, result release.Result) {
	t.memo.current = result.Release
	c.gather.Keep(&t.memo.gather, facts, result.Release)
	if result.State != release.InSync {
		t.log.Info("Applied a revision", "found", result.State, "revision", result.Release.Revision, "changes", result.Summary)
	}
}

func (c *Controller) writeCredentials(ctx context.Context, t turn, plan credentials.Plan) error {
	if err := credentials.Apply(ctx, c.client, plan); err != nil {
		return err
	}
	t.log.Info("Wrote the credentials Secret", "keys", plan.Restored)
	return nil
}

// keepCredentials writes what a spec needs that is only held back, and restores what the pod reads and was deleted. It returns
// the names of restored keys. A Secret that the API server rejects keeps nothing else from being reverted.
func (c *Controller) keepCredentials(ctx context.Context, t turn, facts gather.Facts) ([]string, error) {
	if t.current == nil {
		return nil, nil
	}
	if facts.Problem == nil && facts.Credentials.Writes() {
		err := c.writeCredentials(ctx, t, facts.Credentials)
		if again := unlessProblem(err); again != nil || err == nil {
			return nil, again
		}
	}
	if !facts.Restore.Writes() {
		return nil, nil
	}
	if err := c.writeCredentials(ctx, t, facts.Restore); err != nil {
		return nil, unlessProblem(err)
	}
	return facts.Restore.Restored, nil
}

// unlessProblem drops errors that another try does not help with, and those of informers that lag, which wake the server.
func unlessProblem(err error) error {
	if reconcile.ProblemOf(err) != nil || errors.Is(err, credentials.ErrStale) {
		return nil
	}
	return err
}

// applyCurrent reapplies the current revision.
func (c *Controller) applyCurrent(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan) (reconcile.Result, reconcile.Setback, error) {
	ref := c.refOf(t, t.current)
	ref.Stop = plan.Stop
	inputs := fmt.Sprintf("revision %d, retain %t, stop %t", t.current.Revision, ref.Retain, plan.Stop)
	if inOrder, result, err := c.inOrder(ctx, t, ref, inputs); inOrder || err != nil {
		return result, nil, err
	}
	recorded := facts.Recorded
	if recorded == nil {
		var err error
		if recorded, err = c.releases.Current(ctx, ref); err != nil {
			return reconcile.Result{}, nil, err
		}
	}
	if recorded == nil {
		return reconcile.Result{}, reconcile.CurrentLost{}, nil
	}
	result, problem, err := c.applyRecorded(ctx, t, ref, recorded, plan, inputs, "")
	if problem != nil {
		return reconcile.Result{}, reconcile.CurrentRejected{Problem: *problem}, nil
	}
	if plan.Hold != reconcile.HoldRolledBack {
		result.URL = ""
	}
	if err == nil {
		c.followed(t, facts, result.Result)
	}
	return result, nil, err
}

// rollBack rolls back to the good revision, if the policies allow that one today.
func (c *Controller) rollBack(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan) (reconcile.Result, reconcile.Setback, error) {
	ref := c.refOf(t, t.current)
	good, err := c.releases.Good(ctx, ref)
	if err != nil {
		return reconcile.Result{}, nil, err
	}
	if good == nil {
		return reconcile.Result{}, reconcile.RollbackImpossible{Why: "The record of the revision that ran is gone."}, nil
	}
	result, problem, err := c.applyRecorded(ctx, t, ref, good, plan, "", facts.Pod.Finding.Message)
	if problem != nil {
		return reconcile.Result{}, reconcile.RollbackImpossible{Why: problem.Message}, nil
	}
	if err == nil {
		t.memo.current, result.PodReplaced = result.Release, true
		t.log.Info("Rolled back", "from", t.current.Revision, "to", t.current.GoodRevision, "revision", result.Release.Revision)
	}
	return result, nil, err
}

// applyRecorded applies a revision from its record: the current one, or for a reason why, the good one. The policies are asked
// if the plan says so. A claim is retained if the record or the spec says so: in doubt, files are kept.
func (c *Controller) applyRecorded(ctx context.Context, t turn, ref release.Ref, recorded *render.Rendered, plan reconcile.Plan, inputs, why string) (reconcile.Result, *reconcile.Problem, error) {
	former, err := gather.ServerOf(t.server, recorded)
	if err != nil {
		return reconcile.Result{}, nil, err
	}
	ref.Retain = ref.Retain || former.Spec.Storage.Retain
	if plan.Ask {
		_, problem, err := c.gather.Evaluate(ctx, former, recorded)
		if problem != nil || err != nil {
			c.routes.GiveBack(t.server)
			return reconcile.Result{}, problem, err
		}
	}
	diff, err := c.releases.Diff(ctx, ref, &t.memo.release, recorded)
	if err != nil {
		return reconcile.Result{}, nil, err
	}
	var result release.Result
	if plan.Target == reconcile.TargetGood {
		result, err = c.releases.RollBack(ctx, ref, &t.memo.release, recorded, diff, why)
	} else {
		result, err = c.releases.Follow(ctx, ref, &t.memo.release, recorded, diff, inputs)
	}
	if err != nil {
		if plan.Target == reconcile.TargetGood {
			c.routes.GiveBack(t.server)
		}
		if problem := reconcile.ProblemOf(err); problem != nil {
			return reconcile.Result{}, problem, nil
		}
		return reconcile.Result{}, nil, err
	}
	if plan.Ask {
		c.routes.Keep(t.server)
	}
	return reconcile.Result{Result: result, URL: c.gather.Renderer.URL(former)}, nil, nil
}
