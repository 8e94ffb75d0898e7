// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller has the cluster follow JupyterServers: gather, decide, act, report.
//
// What may live here: the loop, its watches and what it remembers, acting on a plan. What may not: reading facts (gather),
// decisions and status (reconcile), how a revision is applied and recorded (release), the credentials Secret (credentials).
package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolsevents "k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

// A server with a problem is tried again after half the time that it has had it, within these bounds. What fixes it usually wakes
// the server earlier.
const (
	soonestRetry = 5 * time.Second
	latestRetry  = 2 * time.Minute
)

// Controller has the cluster follow one JupyterServer at a time.
type Controller struct {
	client   client.Client // reads from the informers, writes to the API server
	gather   *gather.Gatherer
	releases *release.Releaser
	routes   *judge.Reservations
	cluster  judge.Cluster
	events   toolsevents.EventRecorder
	clock    clock.PassiveClock
	shard    labels.Selector // of the servers to work on
	memory   memory
}

// turn is one server, and what is known of it, while one call of Reconcile works on it.
type turn struct {
	server  *v1alpha1.JupyterServer
	memo    *memo
	current *v1alpha1.ReleaseStatus
	log     logr.Logger
}

// Reconcile is one turn of the loop: gather, decide, act, report.
func (c *Controller) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.JupyterServer{}
	err := c.client.Get(ctx, request.NamespacedName, server)
	if apierrors.IsNotFound(err) || err == nil && !c.shard.Matches(labels.Set(server.Labels)) {
		c.memory.forget(request.NamespacedName) // a server of another shard may have been one of this
		c.routes.Forget(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the JupyterServer: %w", err)
	}
	t := turn{server: server, memo: c.memory.of(server), log: ctrl.LoggerFrom(ctx)}
	t.memo.restoreStatus(server)
	t.current = t.memo.newest(server)
	if server.DeletionTimestamp != nil {
		return ctrl.Result{}, c.reportTerminating(ctx, t)
	}
	facts, err := c.gather.Facts(ctx, server, t.current, &t.memo.gather, &t.memo.release)
	if err != nil {
		c.routes.GiveBack(server)
		return ctrl.Result{}, errors.Join(err, c.reportError(ctx, t, facts, err))
	}
	facts, plan, result := c.follow(ctx, t, facts)
	if reconcile.IsNamespaceTerminating(result.Retry) {
		return ctrl.Result{}, c.reportTerminating(ctx, t)
	}
	if errors.Is(result.Retry, credentials.ErrStale) { // nothing was changed, so there is nothing to report
		return ctrl.Result{RequeueAfter: soonestRetry}, nil
	}
	return c.report(ctx, t, facts, plan, result)
}

// follow decides and acts until there is no setback. Each setback takes an option away, so that this ends
// (reconcile.TestDecideEnds).
func (c *Controller) follow(ctx context.Context, t turn, facts gather.Facts) (gather.Facts, reconcile.Plan, reconcile.Result) {
	for {
		plan := reconcile.Decide(facts.Facts)
		t.log.V(1).Info("Decided", "target", plan.Target, "hold", plan.Hold, "stop", plan.Stop, "why", plan.Why, "problem", facts.Problem)
		result, setback := c.act(ctx, t, facts, plan)
		if setback == (reconcile.Setback{}) {
			return facts, plan, result
		}
		t.log.V(1).Info("Met a setback", "setback", fmt.Sprintf("%+v", setback))
		t.memo.gather.NoteNoRollback(setback.NoRollback)
		facts.Facts = facts.After(setback)
	}
}

// report writes the status, prunes records that a new good revision made obsolete, and replaces a stuck pod.
func (c *Controller) report(ctx context.Context, t turn, facts gather.Facts, plan reconcile.Plan, result reconcile.Result) (ctrl.Result, error) {
	told := reconcile.Turn{Server: t.server, Facts: facts.Facts, Plan: plan, Result: result, Now: metav1.NewTime(c.clock.Now())}
	c.emit(t, told.Done())
	status := reconcile.Status(told)
	if err := c.writeStatus(ctx, t, status); err != nil {
		return ctrl.Result{}, errors.Join(result.Retry, err)
	}
	if result.Retry != nil {
		return ctrl.Result{}, result.Retry
	}
	after := release.Soonest(result.After, facts.LookAgain)
	if result.PodReplaced && status.Pod == nil {
		after = release.Soonest(after, lookAtStart)
	}
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled) {
		after = release.Soonest(after, min(max(c.stalledFor(t.server)/2, soonestRetry), latestRetry))
	}
	if former := t.current; former != nil && former.GoodRevision != 0 && status.Release.GoodRevision != former.GoodRevision {
		after = release.Soonest(after, soonestRetry) // inline secrets that only the former good revision needed go then
		if err := c.releases.Prune(ctx, c.refOf(t, status.Release)); err != nil {
			return ctrl.Result{}, err
		}
	}
	stuck, err := c.replaceStuckPod(ctx, t, facts)
	return ctrl.Result{RequeueAfter: release.Soonest(stuck, after)}, err
}

// lookAtStart is when to look at a pod that was just asked for.
const lookAtStart = 3 * time.Second

// stalledFor returns for how long a server has had a problem.
func (c *Controller) stalledFor(server *v1alpha1.JupyterServer) time.Duration {
	stalled := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Status != metav1.ConditionTrue {
		return 0
	}
	return c.clock.Since(stalled.LastTransitionTime.Time)
}

// reportTerminating reports that a server, or its namespace, is being deleted.
func (c *Controller) reportTerminating(ctx context.Context, t turn) error {
	c.routes.GiveBack(t.server)
	return c.writeStatus(ctx, t, reconcile.Terminating(t.server, metav1.NewTime(c.clock.Now())))
}

// reportError reports that facts could not be gathered.
func (c *Controller) reportError(ctx context.Context, t turn, facts gather.Facts, err error) error {
	if reconcile.IsNamespaceTerminating(err) {
		return c.reportTerminating(ctx, t)
	}
	return c.writeStatus(ctx, t, reconcile.Status(reconcile.Turn{
		Server: t.server, Facts: facts.Facts, Result: reconcile.Result{Retry: err}, Now: metav1.NewTime(c.clock.Now()),
	}))
}

// writeStatus writes a status if it differs: at most one patch for each turn.
func (c *Controller) writeStatus(ctx context.Context, t turn, status v1alpha1.JupyterServerStatus) error {
	if equality.Semantic.DeepEqual(t.server.Status, status) {
		return nil
	}
	updated := t.server.DeepCopy()
	updated.Status = status
	patch, err := statusPatch(updated)
	if err != nil {
		return err
	}
	err = c.client.Status().Patch(ctx, updated, patch, client.FieldOwner(objects.FieldManager))
	if apierrors.IsNotFound(err) {
		return nil // deleted in the meantime
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	t.memo.noteStatus(updated)
	if t.server.Status.State != status.State || t.server.Status.Message != status.Message {
		t.log.Info("Status changed", "state", status.State, "message", status.Message)
	}
	c.emit(t, reconcile.Transitions(t.server.Status, updated.Status))
	return nil
}

// statusPatch fails on a server of the same name that took the place of this one, and has no release.
func statusPatch(server *v1alpha1.JupyterServer) (client.Patch, error) {
	raw, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": server.UID},
		{"op": "add", "path": "/status", "value": server.Status},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the status: %w", err)
	}
	return client.RawPatch(types.JSONPatchType, raw), nil
}

// emit records events.
func (c *Controller) emit(t turn, events []reconcile.Event) {
	for _, event := range events {
		c.events.Eventf(t.server, nil, event.Type, event.Reason, event.Action, "%s", event.Message)
	}
}
