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
	"github.com/jupyterserver/jupyter-server-operator/operator/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
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
		out.kept = keptBack
		return r.Engine.Kept(ctx, server)
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
	if kept != nil && samePod(kept, rendered) {
		return rendered, nil
	}
	out.kept = keptRunning
	if back != nil {
		out.kept = keptBack
	}
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
	pod, err := get(ctx, r.Client, server.Namespace, server.Name+"-0", &corev1.Pod{})
	if err != nil || pod == nil || pod.DeletionTimestamp != nil {
		return false, err
	}
	for _, container := range pod.Status.ContainerStatuses {
		if container.Name == diagnosis.JupyterContainer {
			return container.State.Running != nil, nil
		}
	}
	return false, nil
}

// failing is since when the pod of a revision cannot start.
type failing struct {
	revision int
	since    time.Time
}

// notOfTheRevision are findings that no other revision would mend.
var notOfTheRevision = map[string]bool{
	"NodeLost": true, "NodeNotReady": true, "NodeShutdown": true, "Preempted": true, "Evicted": true, "Terminating": true,
	"SchedulerError": true, "ClaimLost": true,
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
		since = failing{released.Revision, r.Clock.Now()}
		r.failing.set(key, since)
	}
	if left := r.Upgrades.RollbackAfter.Duration - r.Clock.Since(since.since); left > 0 {
		w.lookAgain = soonest(w.lookAgain, left)
		return nil
	}
	back, good, err := r.Engine.RollBack(ctx, server, w.finding.Message)
	if err != nil || back == nil {
		return err
	}
	if out.url, err = r.urlOf(good); err != nil {
		return err
	}
	r.failing.forget(key)
	out.release, out.kept, out.podChanges = back, keptBack, true
	out.blocked = rolledBack(back)
	w.current, w.finding = false, nil
	r.Events.Eventf(server, nil, corev1.EventTypeWarning, v1alpha1.ReasonRolledBack, "RollBack", "%s", out.blocked.message)
	return nil
}

// urlOf is where a server with these values is reached: the spec is the values.
func (r *Reconciler) urlOf(rendered *render.Rendered) (string, error) {
	raw, err := json.Marshal(rendered.Values)
	if err != nil {
		return "", fmt.Errorf("encoding the values of a record: %w", err)
	}
	server := &v1alpha1.JupyterServer{}
	if err := json.Unmarshal(raw, &server.Spec); err != nil {
		return "", fmt.Errorf("reading the values of a record: %w", err)
	}
	return r.Renderer.URL(server), nil
}

func (r *Reconciler) rollsBack(server *v1alpha1.JupyterServer) bool {
	if own := server.Spec.Release; own != nil && own.RollbackOnFailure != nil {
		return *own.RollbackOnFailure
	}
	return r.Upgrades.RollbackOnFailure
}

func rolledBack(released *v1alpha1.ReleaseStatus) *blocked {
	return &blocked{v1alpha1.ReasonRolledBack, sentence(fmt.Sprintf(
		"revision %d did not start, so the one before it was put back, and its spec waits to be corrected: %s", released.RolledBack.Revision, released.RolledBack.Message))}
}

// noteGood marks the newest revision as good once the server is ready with it. The record of the one that was good before may be older
// than those that are kept: it goes.
func (r *Reconciler) noteGood(ctx context.Context, server *v1alpha1.JupyterServer, out *outcome, w workload) error {
	released := out.release
	if !w.ready || !w.current || released == nil || released.GoodRevision == released.Revision || server.Spec.Suspend {
		return nil
	}
	if err := r.Engine.Drop(ctx, server, released.GoodRevision); err != nil {
		return err
	}
	good := *released
	good.GoodRevision = released.Revision
	out.release = &good
	return nil
}
