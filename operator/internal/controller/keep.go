// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// keeping says why a server is kept as it was released, although its spec renders to something else now. Empty: it is not.
type keeping string

const (
	// keptRunning: only the operator has changed, and its pod would be another one. People work in the one that runs.
	keptRunning keeping = "running"
	// keptBack: the spec did not start, and was rolled back.
	keptBack keeping = "rolled back"
)

// target is what the cluster shall have: what the spec renders to, or for the time being what is released. Nil: that is not known any
// more, so everything is left as it is.
func (r *Reconciler) target(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, out *outcome) (*render.Rendered, error) {
	released := out.release
	if released == nil || released.InputDigest == rendered.Digest {
		return rendered, nil
	}
	back := released.RolledBack
	if back != nil && back.InputDigest == rendered.Digest {
		kept, err := r.Engine.Kept(ctx, server)
		if err != nil {
			return nil, err
		}
		out.shadow.facts.CurrentGone = kept == nil
		return r.keepBack(ctx, server, rendered, kept, out)
	}
	sameSpec := released.SpecDigest == rendered.SpecDigest || back != nil && back.SpecDigest == rendered.SpecDigest
	if !sameSpec || r.Upgrades.RestartRunning {
		return rendered, nil
	}
	runs, err := r.jupyterRuns(ctx, server)
	if err != nil || !runs {
		return rendered, err
	}
	kept, err := r.Engine.Kept(ctx, server)
	if err != nil {
		return nil, err
	}
	out.shadow.facts.CurrentGone = kept == nil
	out.shadow.facts.SamePod = kept != nil && samePod(kept, rendered)
	if kept != nil && samePod(kept, rendered) {
		return rendered, nil
	}
	if back != nil {
		return r.keepBack(ctx, server, rendered, kept, out)
	}
	out.kept = keptRunning
	return kept, nil
}

// keepBack keeps what was rolled back to. Where that is not known any more, and nothing runs, only the spec is left to be tried.
func (r *Reconciler) keepBack(ctx context.Context, server *v1alpha1.JupyterServer, rendered, kept *render.Rendered, out *outcome) (*render.Rendered, error) {
	if kept == nil {
		runs, err := r.jupyterRuns(ctx, server)
		if err != nil || !runs {
			return rendered, err
		}
		out.kept = keptBack
		return nil, nil
	}
	former, err := formerly(server, kept)
	if err != nil {
		return nil, err
	}
	out.kept, out.url = keptBack, r.Renderer.URL(former)
	return kept, nil
}

// samePod says whether the pods of two renderings are the same, so that going from one to the other restarts nothing.
func samePod(a, b *render.Rendered) bool {
	return equality.Semantic.DeepEqual(podTemplate(a), podTemplate(b))
}

func podTemplate(rendered *render.Rendered) any {
	for _, object := range rendered.Objects {
		if object.GetKind() == "StatefulSet" {
			template, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "template")
			return template
		}
	}
	return nil
}

// jupyterRuns says whether there is somebody's work to lose.
func (r *Reconciler) jupyterRuns(ctx context.Context, server *v1alpha1.JupyterServer) (bool, error) {
	_, pod, err := r.ownPod(ctx, server)
	if err != nil || pod == nil || pod.DeletionTimestamp != nil {
		return false, err
	}
	jupyter := jupyterOf(pod)
	return jupyter != nil && jupyter.State.Running != nil, nil
}

// failing is since when the pod of a revision cannot start.
type failing struct {
	revision int
	since    time.Time
	// stays says why it is not rolled back. Empty: it is not known yet.
	stays string
}

// notOfTheRevision are findings that no other revision would mend.
var notOfTheRevision = map[string]bool{
	"NodeLost": true, "NodeNotReady": true, "NodeShutdown": true, "Preempted": true, "Evicted": true, "Terminating": true,
	"SchedulerError": true, "ClaimLost": true, "PodNameTaken": true,
	v1alpha1.ReasonProviderUnreachable: true, v1alpha1.ReasonProviderInvalid: true, v1alpha1.ReasonClientRefused: true,
}

// rollBack takes back a revision that has been failing for long enough, where that is wanted and there is one to go back to.
func (r *Reconciler) rollBack(ctx context.Context, server *v1alpha1.JupyterServer, out *outcome, w *workload) error {
	key := client.ObjectKeyFromObject(server)
	released := out.release
	fails := out.blocked == nil && !out.podChanges && released != nil && !server.Spec.Suspend &&
		!w.ready && (w.pod == nil || w.current) && w.finding != nil && w.finding.Severity == diagnosis.Degraded && !notOfTheRevision[w.finding.Reason]
	if !fails || released.RolledBack != nil || released.GoodRevision == 0 || released.GoodRevision == released.Revision || !r.rollsBack(server) {
		r.failing.forget(key)
		return nil
	}
	since, ok := r.failing.get(key)
	if !ok || since.revision != released.Revision {
		since = failing{revision: released.Revision, since: r.Clock.Now()}
		r.failing.set(key, since)
	}
	out.shadow.facts.Pod.Failing, out.shadow.facts.Pod.FailingFor = true, r.Clock.Since(since.since)
	out.shadow.facts.NoRollback = since.stays
	if left := r.Upgrades.RollbackAfter.Duration - r.Clock.Since(since.since); left > 0 {
		w.lookAgain = soonest(w.lookAgain, left)
		return nil
	}
	if since.stays == "" {
		stays, err := r.goBack(ctx, server, out, w)
		if err != nil {
			return err
		}
		since.stays = stays
		out.shadow.facts.NoRollback = stays
		r.failing.set(key, since)
	}
	if since.stays != "" {
		w.finding.Message += " It cannot be rolled back: " + since.stays
	}
	return nil
}

// goBack rolls back to the newest revision that ran, if the policies allow that one today. It returns why not, for people.
func (r *Reconciler) goBack(ctx context.Context, server *v1alpha1.JupyterServer, out *outcome, w *workload) (stays string, err error) {
	good, err := r.Engine.Good(ctx, server)
	if err != nil {
		return "", err
	}
	if good == nil {
		return "The record of the revision that ran is gone.", nil
	}
	former, err := formerly(server, good)
	if err != nil {
		return "", err
	}
	if err := r.permit(ctx, former, good, &outcome{}); err != nil {
		return whyNot(err)
	}
	back, err := r.Engine.RollBack(ctx, server, good, w.finding.Message)
	if err != nil {
		r.Cluster.Reservations.GiveBack(server)
		return whyNot(err)
	}
	r.Cluster.Reservations.Keep(server)
	out.release, out.kept, out.podChanges, out.url = back, keptBack, true, r.Renderer.URL(former)
	out.blocked = rolledBack(back)
	out.shadow.plan = reconcile.Plan{Target: reconcile.TargetGood, Hold: reconcile.HoldRolledBack}
	w.current, w.finding = false, nil
	r.Events.Eventf(server, nil, corev1.EventTypeWarning, v1alpha1.ReasonRolledBack, "RollBack", "%s", out.blocked.message)
	return "", nil
}

// whyNot tells what only somebody else can mend from what is tried again.
func whyNot(err error) (stays string, again error) {
	stop := blockedBy(err)
	if stop == nil {
		return "", err
	}
	return stop.message, nil
}

// formerly is a server with the spec that a revision was made of: the spec is the values.
func formerly(server *v1alpha1.JupyterServer, revision *render.Rendered) (*v1alpha1.JupyterServer, error) {
	raw, err := json.Marshal(revision.Values)
	if err != nil {
		return nil, fmt.Errorf("encoding the values of a record: %w", err)
	}
	former := server.DeepCopy()
	former.Spec = v1alpha1.JupyterServerSpec{}
	if err := json.Unmarshal(raw, &former.Spec); err != nil {
		return nil, fmt.Errorf("reading the values of a record: %w", err)
	}
	return former, nil
}

func (r *Reconciler) rollsBack(server *v1alpha1.JupyterServer) bool {
	if own := server.Spec.Release; own != nil && own.RollbackOnFailure != nil {
		return *own.RollbackOnFailure
	}
	return r.Upgrades.RollbackOnFailure
}

// mayGoBack says whether a server may yet be rolled back, or has been.
func (r *Reconciler) mayGoBack(server *v1alpha1.JupyterServer) bool {
	released := r.Engine.Released(server)
	return released != nil && (released.RolledBack != nil ||
		r.rollsBack(server) && (server.Status.ObservedGeneration != server.Generation || released.GoodRevision != released.Revision))
}

func rolledBack(released *v1alpha1.ReleaseStatus) *blocked {
	return &blocked{v1alpha1.ReasonRolledBack, sentence(fmt.Sprintf(
		"revision %d did not start, so the newest one that ran was put back, and the spec waits to be corrected: %s", released.RolledBack.Revision, released.RolledBack.Message))}
}

// noteGood marks the newest revision as good once the server is ready with it. It returns the one that was good before, or 0. The
// next turn takes away what only that one needed.
func (r *Reconciler) noteGood(server *v1alpha1.JupyterServer, out *outcome, w workload) (before int) {
	released := out.release
	if !w.ready || !w.current || released == nil || released.GoodRevision == released.Revision || server.Spec.Suspend {
		return 0
	}
	good := *released
	good.GoodRevision, good.GoodRecordDigest = released.Revision, released.RecordDigest
	out.release = &good
	if released.GoodRevision != 0 {
		out.lookAgain = soonest(out.lookAgain, soonestRetry)
	}
	return released.GoodRevision
}
