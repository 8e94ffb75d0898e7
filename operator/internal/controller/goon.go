// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// goOn is for a server whose spec is blocked, and which goes on as it was released: what somebody edits or removes is put back. A server
// that was stopped stays so.
func (r *Reconciler) goOn(ctx context.Context, server *v1alpha1.JupyterServer, out *outcome) error {
	if err := r.putBack(ctx, server); err != nil && blockedBy(err) == nil {
		return err // what the API server refuses of the Secret keeps nobody from putting back the rest
	}
	if out.release == nil || out.kept != "" || server.Spec.Suspend {
		return nil // there is nothing to go on with, it is kept already, or it shall not go on
	}
	inputs := fmt.Sprintf("revision %d, retain %t", out.release.Revision, server.Spec.Storage.Retain)
	if inOrder, _, err := r.Engine.InOrder(ctx, server, inputs); inOrder || err != nil {
		out.shadow.skip = true
		return err
	}
	kept, err := r.Engine.Kept(ctx, server)
	out.shadow.facts.CurrentGone = kept == nil
	if kept == nil || err != nil {
		return err
	}
	former, err := formerly(server, kept)
	if err != nil {
		return err
	}
	former.Spec.Storage.Retain = former.Spec.Storage.Retain || server.Spec.Storage.Retain // who errs keeps the files
	observation, err := r.Engine.Observe(ctx, former, kept)
	if err != nil {
		return err
	}
	if goesOn, err := r.mayGoOn(ctx, server, former, kept, observation, out); !goesOn || err != nil {
		return err
	}
	out.shadow.plan.Target = reconcile.TargetCurrent
	before := out.release
	released, lookAgain, err := r.Engine.Act(ctx, former, kept, observation)
	if err != nil {
		out.shadow.skip = true
		_, again := whyNot(err) // somebody has put an object of theirs in the place of ours, for instance
		return again
	}
	r.announce(server, observation, before, released)
	out.release, out.lookAgain = released, soonest(out.lookAgain, soonest(observation.Unsettled, lookAgain))
	out.podChanges = observation.Changes("StatefulSet") || observation.Unsettled > 0
	r.contest(ctx, server, observation, out)
	r.Engine.Settle(server, inputs, observation)
	return nil
}

// mayGoOn says whether a server may be put back as it was released. One that has no pod, because it was stopped, gets none: putting it
// back would start what may be forbidden. One whose StatefulSet is gone is asked about as if it were new, and so is one whose Ingress is
// gone from a route that its spec does not claim any more: somebody else may have that by now.
func (r *Reconciler) mayGoOn(ctx context.Context, server, former *v1alpha1.JupyterServer, kept *render.Rendered, observation release.Observation, out *outcome) (bool, error) {
	set, err := get(ctx, r.Client, server.Namespace, server.Name, &appsv1.StatefulSet{})
	if err != nil {
		return false, err
	}
	defer func() {
		out.shadow.facts.CurrentDenied = out.shadow.denied
	}()
	moves := former.Spec.Routing.Host != server.Spec.Routing.Host || former.Spec.Routing.Path != server.Spec.Routing.Path
	out.shadow.facts.LeavesRoute = moves && observation.Changes("Ingress")
	switch {
	case set != nil && !release.IsOwnSet(server, set), isStopped(set):
		return false, nil
	case set == nil && out.judged.asked && out.judged.result.Denied():
		return false, nil
	case set != nil && !(moves && observation.Changes("Ingress")):
		return true, nil
	}
	if err := r.permit(ctx, former, kept, &outcome{}); err != nil {
		_, again := whyNot(err)
		out.shadow.denied = true
		return false, again
	}
	r.Cluster.Reservations.Keep(server)
	return true, nil
}

// isStopped says whether a StatefulSet is to have no pod. Nil is none that was stopped.
func isStopped(set *appsv1.StatefulSet) bool {
	return set != nil && ptr.Deref(set.Spec.Replicas, 1) == 0
}
