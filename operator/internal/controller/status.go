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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
)

// report is everything that a status is made of.
type report struct {
	outcome     outcome
	workload    workload
	failure     error // what is tried again
	terminating bool
}

// summary is the part of a status that the conditions follow from.
type summary struct {
	state       v1alpha1.State
	message     string
	ready       metav1.ConditionStatus
	reason      string
	reconciling bool
	stalled     bool
}

// report writes the status, if it differs: one patch at most for a turn of the loop.
func (r *Reconciler) report(ctx context.Context, server *v1alpha1.JupyterServer, rep report) error {
	updated := server.DeepCopy()
	r.fill(&updated.Status, server, rep)
	if equality.Semantic.DeepEqual(server.Status, updated.Status) {
		return nil
	}
	patch, err := statusPatch(updated)
	if err != nil {
		return err
	}
	err = r.Client.Status().Patch(ctx, updated, patch, client.FieldOwner(release.FieldManager))
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	r.written.set(client.ObjectKeyFromObject(updated), statusOf(updated))
	r.announceTrouble(server, updated)
	r.announceVerdict(server, updated)
	r.announceContest(server, updated)
	return nil
}

// statusPatch fails on a server of the same name that took the place of this one: that one is not released.
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

func (r *Reconciler) fill(status *v1alpha1.JupyterServerStatus, server *v1alpha1.JupyterServer, rep report) {
	s := withContest(summarize(server, rep), rep)
	status.ObservedGeneration = server.Generation
	status.State, status.Message = s.state, s.message
	if rep.terminating {
		r.condition(status, v1alpha1.ConditionReady, metav1.ConditionFalse, s.reason, s.message)
		return
	}
	if rep.outcome.blocked == nil || rep.outcome.release == nil || status.URL == "" {
		status.URL = r.Renderer.URL(server) // else the server is where it was
	}
	if rep.outcome.url != "" {
		status.URL = rep.outcome.url
	}
	status.Release = rep.outcome.release
	status.Pod, status.StartedAt = podStatus(rep.workload)

	r.condition(status, v1alpha1.ConditionReady, s.ready, s.reason, s.message)
	r.condition(status, v1alpha1.ConditionReconciling, boolCondition(s.reconciling), reconcilingReason(s, rep), s.message)
	r.condition(status, v1alpha1.ConditionStalled, boolCondition(s.stalled), s.reason, s.message)
	r.policyCondition(status, rep)
	r.releasedCondition(status, rep)
	r.upToDateCondition(status, rep)
}

// summarize finds the one state. What blocks the spec comes first, then a failure that is tried again, then the pod.
func summarize(server *v1alpha1.JupyterServer, rep report) summary {
	w := rep.workload
	switch {
	case rep.terminating:
		return summary{state: v1alpha1.StateTerminating, ready: metav1.ConditionFalse, reason: "Terminating", message: "The server is being deleted."}
	case rep.outcome.blocked != nil:
		return summarizeBlocked(rep.outcome, w)
	case rep.failure != nil:
		return summary{state: stateOnFailure(rep), ready: metav1.ConditionFalse, reason: v1alpha1.ReasonApplyFailed, message: sentence(rep.failure.Error() + "; it is tried again"), reconciling: true}
	case server.Spec.Suspend:
		return summarizeSuspended(w)
	case w.ready && w.current:
		return summarizeRunning(w.finding)
	case w.finding == nil:
		return summary{state: v1alpha1.StateStarting, ready: metav1.ConditionFalse, reason: v1alpha1.ReasonStarting, message: "The pod is being started.", reconciling: true}
	case w.finding.Severity == diagnosis.Degraded:
		return summary{state: v1alpha1.StateFailed, ready: metav1.ConditionFalse, reason: w.finding.Reason, message: w.finding.Message, reconciling: true}
	}
	return summary{state: v1alpha1.StateStarting, ready: metav1.ConditionFalse, reason: w.finding.Reason, message: w.finding.Message, reconciling: true}
}

// summarizeBlocked is for a server that goes on with the last spec that could be applied, if there is one: that it does, or why its pod
// does not run, is told as well.
func summarizeBlocked(out outcome, w workload) summary {
	s := summary{state: v1alpha1.StateFailed, ready: metav1.ConditionFalse, reason: out.blocked.reason, message: out.blocked.message, stalled: true}
	switch {
	case out.stopped && w.pod == nil:
		s.state = v1alpha1.StateSuspended
	case out.stopped:
		s.state = v1alpha1.StateSuspending
	case w.ready:
		s.state = v1alpha1.StateRunning
	}
	switch {
	case out.release == nil:
	case out.stopped:
		s.message += " Besides, the server is suspended; its files are kept."
	case w.finding != nil && !w.ready: // told below
	case w.set == nil && w.pod == nil:
		s.message += " Until then the server has no pod."
	case isStopped(w.set):
		s.message += " Until then the server stays stopped."
	default:
		s.message += " Until then the server stays as it is."
	}
	if w.finding != nil {
		s.message += " Besides: " + w.finding.Message
	}
	return s
}

// summarizeRunning is for a server that answers. A provider that is down is told, and passes; one that refuses the client has
// to be set right by somebody before anybody can sign in.
func summarizeRunning(trouble *diagnosis.Finding) summary {
	switch {
	case trouble == nil:
		return summary{state: v1alpha1.StateRunning, ready: metav1.ConditionTrue, reason: v1alpha1.ReasonRunning}
	case trouble.Severity == diagnosis.Degraded:
		return summary{state: v1alpha1.StateFailed, ready: metav1.ConditionFalse, reason: trouble.Reason, message: trouble.Message}
	}
	return summary{state: v1alpha1.StateRunning, ready: metav1.ConditionTrue, reason: trouble.Reason, message: trouble.Message}
}

func stateOnFailure(rep report) v1alpha1.State {
	switch {
	case rep.workload.ready:
		return v1alpha1.StateRunning
	case rep.outcome.release == nil:
		return v1alpha1.StatePending
	}
	return v1alpha1.StateStarting
}

func summarizeSuspended(w workload) summary {
	if w.pod != nil {
		return summary{state: v1alpha1.StateSuspending, ready: metav1.ConditionFalse, reason: v1alpha1.ReasonSuspending, message: "The pod is being stopped; the files are kept.", reconciling: true}
	}
	return summary{state: v1alpha1.StateSuspended, ready: metav1.ConditionTrue, reason: v1alpha1.ReasonSuspended, message: "The server is suspended; its files are kept. Set spec.suspend to false to go on."}
}

func podStatus(w workload) (*v1alpha1.PodStatus, *metav1.Time) {
	if w.pod == nil {
		return nil, nil
	}
	status := &v1alpha1.PodStatus{Name: w.pod.Name, Ready: w.ready}
	jupyter := jupyterOf(w.pod)
	if jupyter == nil {
		return status, nil
	}
	status.Restarts = jupyter.RestartCount
	if jupyter.State.Running == nil {
		return status, nil
	}
	started := jupyter.State.Running.StartedAt
	return status, &started
}

func (r *Reconciler) releasedCondition(status *v1alpha1.JupyterServerStatus, rep report) {
	switch {
	case rep.outcome.blocked != nil:
		r.condition(status, v1alpha1.ConditionReleased, metav1.ConditionFalse, rep.outcome.blocked.reason, rep.outcome.blocked.message)
	case rep.failure != nil:
		r.condition(status, v1alpha1.ConditionReleased, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, sentence(rep.failure.Error()))
	case len(rep.outcome.contested) > 0:
		r.condition(status, v1alpha1.ConditionReleased, metav1.ConditionFalse, v1alpha1.ReasonContested, contestMessage(rep.outcome.contested))
	default:
		r.condition(status, v1alpha1.ConditionReleased, metav1.ConditionTrue, v1alpha1.ReasonReleased, fmt.Sprintf("Revision %d.", rep.outcome.release.Revision))
	}
}

// upToDateCondition says whether the operator would make something else of the spec. While that is not known, it stays as it was.
func (r *Reconciler) upToDateCondition(status *v1alpha1.JupyterServerStatus, rep report) {
	switch {
	case rep.outcome.kept == keptRunning:
		r.condition(status, v1alpha1.ConditionUpToDate, metav1.ConditionFalse, v1alpha1.ReasonWaitsForStop,
			"A new version or configuration of the operator makes another pod of this server. It gets that when it stops, or when its spec changes.")
	case rep.outcome.blocked == nil && rep.failure == nil:
		r.condition(status, v1alpha1.ConditionUpToDate, metav1.ConditionTrue, v1alpha1.ReasonUpToDate, "")
	}
}

func (r *Reconciler) condition(status *v1alpha1.JupyterServerStatus, kind string, value metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: kind, Status: value, Reason: reason, Message: message,
		ObservedGeneration: status.ObservedGeneration, LastTransitionTime: metav1.NewTime(r.Clock.Now()),
	})
}

func boolCondition(v bool) metav1.ConditionStatus {
	if v {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// unreadySince is when the server stopped being ready, or was made.
func unreadySince(server *v1alpha1.JupyterServer, now time.Time) time.Time {
	if condition := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReady); condition != nil && condition.Status != metav1.ConditionTrue {
		return condition.LastTransitionTime.Time
	}
	if len(server.Status.Conditions) == 0 {
		return server.CreationTimestamp.Time
	}
	return now
}

// announceTrouble makes an event of a server that has come into trouble or out of it, once.
func (r *Reconciler) announceTrouble(before, after *v1alpha1.JupyterServer) {
	was, is := before.Status.State, after.Status.State
	ready := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	previous := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case is == v1alpha1.StateRunning && was != is && ready.Status == metav1.ConditionTrue:
		r.Events.Eventf(after, nil, corev1.EventTypeNormal, v1alpha1.ReasonRunning, "Start", "the server answers at %s", after.Status.URL)
	case ready.Status == metav1.ConditionFalse && isTrouble(after) && (previous == nil || previous.Reason != ready.Reason):
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, ready.Reason, "Reconcile", "%s", ready.Message)
	}
}

func isTrouble(server *v1alpha1.JupyterServer) bool {
	return server.Status.State == v1alpha1.StateFailed || meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionStalled)
}
