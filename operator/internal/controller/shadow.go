// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// shadow compares what a turn does with what reconcile.Decide plans for the same facts, while both exist. Differences are
// appended to the file that SHADOW_LOG names; without it nothing is compared.
type shadow struct {
	facts  reconcile.Facts
	plan   reconcile.Plan
	denied bool
	skip   bool
}

var shadowLog = os.Getenv("SHADOW_LOG")

func (r *Reconciler) shadowStart(ctx context.Context, server *v1alpha1.JupyterServer, out *outcome) {
	if shadowLog == "" {
		return
	}
	s := &out.shadow
	s.facts = reconcile.Facts{
		Intent: reconcile.IntentOf(server), Current: out.release,
		Upgrades: reconcile.Upgrades{RestartRunning: r.Upgrades.RestartRunning, Rollback: r.rollsBack(server), RollbackAfter: r.Upgrades.RollbackAfter.Duration},
	}
	s.facts.Pod.Runs, _ = r.jupyterRuns(ctx, server)
	set, pod, _ := r.ownPod(ctx, server)
	_ = pod
	s.facts.Set = reconcile.SetScaled
	if set == nil {
		s.facts.Set = reconcile.SetAbsent
		if any, _ := r.anySet(ctx, server); any != nil && !release.IsOwnSet(server, any) {
			s.facts.Set = reconcile.SetForeign
		}
	} else if isStopped(set) {
		s.facts.Set = reconcile.SetStopped
	}
	s.plan.Target = reconcile.TargetNone
}

func (s *shadow) problem(stop *blocked, out *outcome) {
	s.facts.Problem = &reconcile.Problem{Reason: stop.reason, Message: stop.message, Denied: out.judged.asked && out.judged.result.Denied()}
	s.plan = reconcile.Plan{Target: reconcile.TargetNone, Hold: reconcile.HoldBlocked}
}

func (s *shadow) target(target, rendered *render.Rendered, out *outcome, server *v1alpha1.JupyterServer) {
	s.plan = reconcile.Plan{Target: reconcile.TargetSpec, Stop: server.Spec.Suspend}
	switch {
	case target == rendered:
		return
	case target == nil:
		s.plan.Target = reconcile.TargetNone
	default:
		s.plan.Target = reconcile.TargetCurrent
	}
	if out.kept == keptRunning {
		s.plan.Hold = reconcile.HoldWaitsForStop
	} else {
		s.plan.Hold = reconcile.HoldRolledBack
	}
}

// settled is for a turn that changes nothing, and does not know what the spec renders to.
func (s *shadow) settled(out *outcome, server *v1alpha1.JupyterServer) {
	s.skip = out.kept != "" || out.release == nil
	if s.skip {
		return
	}
	s.facts.Spec = reconcile.Digests{Input: out.release.InputDigest, Spec: out.release.SpecDigest}
	s.plan = reconcile.Plan{Target: reconcile.TargetSpec, Stop: server.Spec.Suspend}
}

func (s *shadow) compare(server *v1alpha1.JupyterServer, retry error) {
	if shadowLog == "" || s.skip || retry != nil {
		return
	}
	want := reconcile.Decide(s.facts)
	got := s.plan
	want.Ask, want.Why = false, ""
	got.Ask, got.Why = false, ""
	f, err := os.OpenFile(shadowLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if want != got {
		fmt.Fprintf(f, "DIFFERS %s/%s: did %+v, Decide %+v, facts %+v\n", server.Namespace, server.Name, got, want, s.facts)
		return
	}
	fmt.Fprintf(f, "same %+v\n", got)
}

func (r *Reconciler) anySet(ctx context.Context, server *v1alpha1.JupyterServer) (*appsv1.StatefulSet, error) {
	return get(ctx, r.Client, server.Namespace, server.Name, &appsv1.StatefulSet{})
}
