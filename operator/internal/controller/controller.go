// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// A server that only somebody else can mend is tried again after half the time that it has been so, within these bounds.
// What mends it usually wakes us earlier.
const (
	soonestRetry = 5 * time.Second
	latestRetry  = 2 * time.Minute
)

// Reconciler makes the cluster follow one JupyterServer at a time.
type Reconciler struct {
	Client   client.Client // reads from the informers, writes to the API server
	Live     client.Reader // reads from the API server
	Renderer *render.Renderer
	Judge    *judge.Judge
	Cluster  judge.Cluster
	Engine   *release.Engine
	Events   events.EventRecorder
	Access   *http.Client // asks the access control in the pods, see NewAccessClient
	Clock    clock.PassiveClock
	Shard    labels.Selector // of the servers to work on
	Upgrades config.Release

	written memory[writtenStatus]
	settled memory[settled]
	failing memory[failing]
	bundles memory[bundle]
	access  memory[lastAccess]
	shared  sharedEvents
	stuck   memory[stuckPod]
}

// Reconcile is one turn of the loop.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.JupyterServer{}
	if err := r.Client.Get(ctx, request.NamespacedName, server); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !r.Shard.Matches(labels.Set(server.Labels)) {
		r.forget(request.NamespacedName) // it may have been ours
		return ctrl.Result{}, nil
	}
	restore(&r.written, server)
	if server.DeletionTimestamp != nil {
		r.Cluster.Reservations.GiveBack(server)
		return ctrl.Result{}, r.report(ctx, server, report{terminating: true})
	}
	outcome, retry := r.converge(ctx, server)
	if namespaceGoes(retry) {
		return ctrl.Result{}, r.report(ctx, server, report{terminating: true}) // the server goes with it
	}
	workload, err := r.observeWorkload(ctx, server, outcome)
	if err != nil {
		return ctrl.Result{}, errors.Join(retry, err)
	}
	formerGood := 0
	if retry == nil {
		retry = r.rollBack(ctx, server, &outcome, &workload)
		outcome.shadow.compare(server, retry)
		formerGood = r.noteGood(server, &outcome, workload)
	}
	if err := r.report(ctx, server, report{outcome: outcome, workload: workload, failure: retry}); err != nil {
		return ctrl.Result{}, errors.Join(retry, err)
	}
	if err := cmp.Or(retry, r.Engine.Drop(ctx, server, formerGood)); err != nil {
		return ctrl.Result{}, err
	}
	stuck, err := r.unstick(ctx, server, workload)
	return ctrl.Result{RequeueAfter: soonest(stuck, soonest(outcome.lookAgain, workload.lookAgain))}, err
}

// forget drops what is remembered of a server that is gone, or that another operator works on from now on.
func (r *Reconciler) forget(server client.ObjectKey) {
	r.Engine.Forget(server)
	r.written.forget(server)
	r.settled.forget(server)
	r.failing.forget(server)
	r.bundles.forget(server)
	r.access.forget(server)
	r.stuck.forget(server)
	r.Cluster.Reservations.Forget(server)
}

// outcome is what came of bringing the release in line with the spec.
type outcome struct {
	// blocked says why the spec was not applied, and that only somebody else can mend it.
	blocked *blocked
	// release is the release as it is now. Nil: there is none.
	release *v1alpha1.ReleaseStatus
	// podChanges says that the pod that the informers show is not the one that was asked for last.
	podChanges bool
	lookAgain  time.Duration
	// contested are the objects that somebody else changes again and again.
	contested []release.Contest
	// judged is what the policies say.
	judged judged
	// kept says why the release is not what the spec renders to now.
	kept keeping
	// url is where the server is reached, where that is not what its spec says.
	url string
	// stopped says that the server was stopped, though its spec is blocked.
	stopped bool

	shadow shadow
}

// blocked is a reason that goes into the conditions, with a sentence for the person who wrote the spec.
type blocked struct {
	reason  string
	message string
}

func (b *blocked) Error() string { return b.message }

// converge brings the release in line with the spec. A blocked spec is part of the outcome, and the server goes on as it is, or is
// stopped if that is what it shall be; an error is tried again.
func (r *Reconciler) converge(ctx context.Context, server *v1alpha1.JupyterServer) (outcome, error) {
	out := outcome{release: r.Engine.Released(server)}
	r.shadowStart(ctx, server, &out)
	err := r.release(ctx, server, &out)
	stop := blockedBy(err)
	if stop == nil {
		out.shadow.skip = out.shadow.skip || err != nil
		return out, err
	}
	if out.kept == "" {
		out.shadow.problem(stop, &out)
	}
	out.blocked, out.lookAgain = stop, soonest(out.lookAgain, min(max(r.blockedFor(server)/2, soonestRetry), latestRetry))
	r.Cluster.Reservations.GiveBack(server)
	if out.release != nil && server.Spec.Suspend {
		if err := r.Engine.Stop(ctx, server); err != nil {
			return out, err
		}
		out.stopped = true
		out.shadow.plan.Stop = true
	}
	err = r.goOn(ctx, server, &out)
	out.shadow.skip = out.shadow.skip || err != nil
	return out, err
}

// blockedFor is for how long a server has been blocked.
func (r *Reconciler) blockedFor(server *v1alpha1.JupyterServer) time.Duration {
	stalled := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Status != metav1.ConditionTrue {
		return 0
	}
	return r.Clock.Since(stalled.LastTransitionTime.Time)
}

// release takes the steps of the design's one way: references, render, judge, observe, act. The server's own Secret is
// written once neither the policies nor the API server refuse what it is for. A server that is settled is spared them.
func (r *Reconciler) release(ctx context.Context, server *v1alpha1.JupyterServer, out *outcome) error {
	if err := server.Spec.Unreadable(); err != nil {
		return &blocked{v1alpha1.ReasonSpecUnreadable, sentence("the spec holds a value that Kubernetes does not take: " + err.Error())}
	}
	refs, err := r.resolve(ctx, server)
	if blockedBy(err) != nil {
		err = cmp.Or(r.permit(ctx, server, nil, out), err) // what is missing is not worth looking for if it is refused
	}
	if err != nil {
		return err
	}
	inputs, err := r.inputs(ctx, server, refs.digests)
	if err != nil {
		return err
	}
	if refs.write == nil {
		if done, err := r.isSettled(ctx, server, inputs, out); done || err != nil {
			out.shadow.settled(out, server)
			return cmp.Or(err, out.keptBack())
		}
	}
	rendered, err := r.render(server, refs.digests)
	if err != nil {
		return err
	}
	if err := r.permit(ctx, server, rendered, out); err != nil {
		return err
	}
	if refs.write != nil && out.release != nil {
		if err := r.Engine.Rehearse(ctx, server, rendered); err != nil {
			return err
		}
	}
	if rendered, err = r.writeOwn(ctx, server, refs, rendered); err != nil {
		return err
	}
	out.shadow.facts.Spec = reconcile.Digests{Input: rendered.Digest, Spec: rendered.SpecDigest}
	target, err := r.target(ctx, server, rendered, out)
	if err != nil {
		return err
	}
	out.shadow.target(target, rendered, out, server)
	if target != nil {
		if err := r.follow(ctx, server, target, inputs, out); err != nil {
			return err
		}
	}
	if out.kept != "" {
		r.Cluster.Reservations.GiveBack(server) // it stays where it is
		return out.keptBack()
	}
	r.Cluster.Reservations.Keep(server)
	return nil
}

func (r *Reconciler) render(server *v1alpha1.JupyterServer, refs render.References) (*render.Rendered, error) {
	rendered, err := r.Renderer.Render(server, refs)
	if err != nil {
		return nil, &blocked{v1alpha1.ReasonRenderFailed, sentence("the spec cannot be rendered: " + err.Error())}
	}
	return rendered, nil
}

// follow makes the cluster follow what it shall have.
func (r *Reconciler) follow(ctx context.Context, server *v1alpha1.JupyterServer, target *render.Rendered, inputs string, out *outcome) error {
	observation, err := r.Engine.Observe(ctx, server, target)
	if err != nil {
		return err
	}
	out.podChanges = observation.Changes("StatefulSet") || observation.Unsettled > 0
	released, lookAgain, err := r.Engine.Act(ctx, server, target, observation)
	if err != nil {
		return err
	}
	r.announce(server, observation, out.release, released)
	if out.kept != keptBack {
		released = holding(released, server)
	}
	out.release, out.lookAgain = released, soonest(observation.Unsettled, lookAgain)
	r.contest(ctx, server, observation, out)
	r.Engine.Settle(server, inputs, observation)
	r.settle(server, inputs, out)
	return nil
}

// holding is a release that holds the spec of a server as it is.
func holding(released *v1alpha1.ReleaseStatus, server *v1alpha1.JupyterServer) *v1alpha1.ReleaseStatus {
	out := *released
	out.Generation = server.Generation
	return &out
}

// keptBack is an error for a spec that was rolled back.
func (o *outcome) keptBack() error {
	if o.kept != keptBack {
		return nil
	}
	return rolledBack(o.release)
}

// blockedBy tells the errors that only somebody else can mend from those that are worth another try.
func blockedBy(err error) *blocked {
	var (
		stop     *blocked
		conflict *release.ConflictError
		record   *release.RecordConflictError
		apply    *release.ApplyError
	)
	switch {
	case namespaceGoes(err):
		return nil
	case errors.As(err, &stop):
		return stop
	case errors.As(err, &conflict):
		return &blocked{v1alpha1.ReasonNameConflict, sentence(err.Error() + ", so it was left alone: " + wayOut(conflict))}
	case errors.As(err, &record):
		return &blocked{v1alpha1.ReasonReleaseConflict, sentence(err.Error() + ", so it was left alone: run `helm uninstall`, or give the JupyterServer another name")}
	case apierrors.IsRequestEntityTooLargeError(err) || tooLong(err):
		return &blocked{v1alpha1.ReasonApplyRefused, sentence("the server is too large for Kubernetes to keep: " + err.Error() + "; shorten the spec, such as the lists of auth.oidc.allow")}
	case errors.As(err, &apply) && apply.Refused():
		return &blocked{v1alpha1.ReasonApplyRefused, sentence("the API server refused the " + apply.Object + ": " + withoutDiff(apply.Err.Error()))}
	}
	return nil
}

// wayOut is what to do about an object that is in the way. Nobody is told to delete a claim: it may hold files.
func wayOut(conflict *release.ConflictError) string {
	if claim, isClaim := strings.CutPrefix(conflict.Object, "PersistentVolumeClaim "); isClaim {
		return "give the JupyterServer another name; to use the files of that claim, name it in spec.storage.existingClaim (" + claim + ")"
	}
	return "delete it, or give the JupyterServer another name"
}

// tooLong says that the API server finds an object, such as the record of the release, larger than it may be.
func tooLong(err error) bool {
	return apierrors.IsInvalid(err) && apierrors.HasStatusCause(err, metav1.CauseType(field.ErrorTypeTooLong))
}

// namespaceGoes says that nothing can be made in the namespace any more, because it is being deleted
// (apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go).
func namespaceGoes(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// announce tells in events what was done. Nothing was done: no event.
func (r *Reconciler) announce(server *v1alpha1.JupyterServer, observation release.Observation, before, released *v1alpha1.ReleaseStatus) {
	switch observation.State {
	case release.Absent:
		r.Events.Eventf(server, nil, corev1.EventTypeNormal, "Installed", "Install", "release %s was installed", released.Name)
	case release.OutOfSync:
		r.Events.Eventf(server, nil, corev1.EventTypeNormal, "Upgraded", "Upgrade", "release %s is now at revision %d", released.Name, released.Revision)
	case release.Repaired:
		if before.Revision == released.Revision {
			return
		}
		r.Events.Eventf(server, nil, corev1.EventTypeNormal, "Recorded", "Repair", "release %s is recorded as revision %d", released.Name, released.Revision)
	case release.Drifted:
		r.Events.Eventf(server, nil, corev1.EventTypeWarning, "DriftRepaired", "Repair", "put back what differed: %s", observation.Summary())
	}
}

// withoutDiff leaves out the difference between two objects that the API server appends to some refusals.
func withoutDiff(message string) string {
	before, _, _ := strings.Cut(message, "\n@@")
	return before
}

// sentence makes one line with a capital and a full stop of a message. A field or a host that it begins with stays as it is.
func sentence(message string) string {
	text := line(message)
	if first, _, _ := strings.Cut(text, " "); !strings.ContainsAny(first, "./") {
		_, size := utf8.DecodeRuneInString(text)
		text = strings.ToUpper(text[:size]) + text[size:]
	}
	return strings.TrimSuffix(text, ".") + "."
}

// line makes one line of a message, short enough for a status.
func line(message string) string {
	runes := []rune(strings.Join(strings.Fields(message), " "))
	const limit = 600
	if len(runes) > limit {
		runes = append(runes[:limit], '…')
	}
	return string(runes)
}

// soonest is the shorter of two waits, where 0 means none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
