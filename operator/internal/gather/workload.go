// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

const (
	// eventDelay is how long a start may take before its events are read: one that goes well needs no answer.
	eventDelay = 3 * time.Second
	// longestLook is the longest time between two looks at a server that does not start.
	longestLook = 30 * time.Second
)

// findWorkload reads the StatefulSet and the pod from the informers. Objects of other owners that merely share their names are
// ignored.
func (g *Gatherer) findWorkload(ctx context.Context, server *v1alpha1.JupyterServer, _ *Memo, releases *release.Memo, f *Facts) error {
	set, err := get(ctx, g.Cached, server.Namespace, server.Name, &appsv1.StatefulSet{})
	if err != nil {
		return err
	}
	pod, err := get(ctx, g.Cached, server.Namespace, server.Name+"-0", &corev1.Pod{})
	if err != nil {
		return err
	}
	ref := RefOf(server, f.Current)
	if pod != nil && isPodOf(ref, set, pod) {
		f.PodObject = pod
	}
	switch {
	case set == nil:
		f.Set = reconcile.SetAbsent
	case !ref.OwnsSet(set):
		f.Set, set = reconcile.SetForeign, nil
	case diagnosis.IsScaledToZero(set):
		f.Set = reconcile.SetStopped
	default:
		f.Set = reconcile.SetScaled
	}
	f.StatefulSet = set
	lags := f.Current != nil && g.Releases.Lags(release.Ref{Ref: ref, Current: f.Current}, releases, set)
	f.Pod = podFacts(set, f.PodObject, lags)
	return nil
}

func podFacts(set *appsv1.StatefulSet, pod *corev1.Pod, lags bool) reconcile.Pod {
	if pod == nil {
		return reconcile.Pod{}
	}
	stays := pod.DeletionTimestamp == nil
	out := reconcile.Pod{
		Ready:   stays && IsReady(pod),
		Current: IsObserved(set) && pod.Labels[appsv1.ControllerRevisionHashLabelKey] == set.Status.UpdateRevision && !lags,
		Status:  &v1alpha1.PodStatus{Name: pod.Name, Ready: stays && IsReady(pod)},
	}
	jupyter := jupyterOf(pod)
	if jupyter == nil {
		return out
	}
	out.Status.Restarts = jupyter.RestartCount
	if jupyter.State.Running != nil {
		out.StartedAt = ptr.To(jupyter.State.Running.StartedAt)
		out.Runs = stays
	}
	return out
}

// isPodOf reports whether a pod belongs to the StatefulSet of a server, or to an earlier one. An orphan with a revision label
// counts: the StatefulSet adopts it.
func isPodOf(ref objects.Ref, set *appsv1.StatefulSet, pod client.Object) bool {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return pod.GetLabels()[appsv1.ControllerRevisionHashLabelKey] != ""
	}
	isForeign := set != nil && set.UID == owner.UID && !ref.OwnsSet(set)
	return objects.IsSet(*owner, ref.Name) && !isForeign
}

// IsReady reports whether a pod is ready.
func IsReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// jupyterOf returns the status of the container that Jupyter runs in, or nil before the kubelet reports it.
func jupyterOf(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].Name == diagnosis.JupyterContainer {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// MayHoldKernels reports whether Jupyter runs in a pod, ready or not. Before it has passed its startup probe it has never
// answered, so it has no kernels.
func MayHoldKernels(pod *corev1.Pod) bool {
	jupyter := jupyterOf(pod)
	return jupyter != nil && jupyter.State.Running != nil && ptr.Deref(jupyter.Started, true)
}

// IsObserved reports whether the StatefulSet controller has seen what was applied last.
func IsObserved(set *appsv1.StatefulSet) bool {
	return set != nil && set.Status.ObservedGeneration >= set.Generation
}

// findTrouble finds out why the pod of a server that is to run does not, or what is wrong with its provider.
func (g *Gatherer) findTrouble(ctx context.Context, server *v1alpha1.JupyterServer, memo *Memo, _ *release.Memo, f *Facts) error {
	if f.Current == nil || f.Intent.Stop {
		memo.failing = failing{}
		return nil
	}
	answer := g.askAccess(ctx, server, f.PodObject)
	if !f.Pod.Ready || !f.Pod.Current {
		memo.access = lastAccess{} // what follows is another run
		if err := g.diagnose(ctx, server, answer, f); err != nil {
			return err
		}
		g.findFailing(memo, f)
		return nil
	}
	memo.failing = failing{}
	if server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC {
		return nil
	}
	memo.access = memo.access.after(answer)
	f.LookAgain = memo.access.nextLook()
	if finding, found := diagnosis.ProviderTrouble(memo.access.said); found {
		f.Pod.Finding = &finding
	}
	return nil
}

// diagnose looks for the root cause: in the informers, and after a moment in the events as well.
func (g *Gatherer) diagnose(ctx context.Context, server *v1alpha1.JupyterServer, answer *diagnosis.Access, f *Facts) error {
	if f.Problem != nil && f.StatefulSet == nil {
		return nil // nothing creates a pod
	}
	now := g.Clock.Now()
	unready := now.Sub(unreadySince(server, now))
	if f.PodObject == nil && unready < eventDelay {
		f.LookAgain = eventDelay
		return nil
	}
	claim, err := g.claimOf(ctx, server)
	if err != nil {
		return err
	}
	observation := diagnosis.Observation{Now: now, StatefulSet: f.StatefulSet, Pod: f.PodObject, Claim: claim, Access: answer}
	f.LookAgain = min(max(unready/2, eventDelay), longestLook)
	if unready >= eventDelay && (f.PodObject != nil || IsObserved(f.StatefulSet)) {
		if observation.Events, err = g.eventsOf(ctx, server.Namespace, f.StatefulSet, f.PodObject, claim); err != nil {
			return err
		}
	}
	if f.PodObject == nil && IsObserved(f.StatefulSet) && f.Set == reconcile.SetScaled {
		if observation.NameTakenBy, err = g.ownerOfPodName(ctx, server, f); err != nil {
			return err
		}
	}
	if finding, found := diagnosis.Diagnose(observation); found {
		f.Pod.Finding = &finding
		f.LookAgain = release.Soonest(f.LookAgain, finding.Recheck)
	}
	return nil
}

// failing is since when the pod of a revision fails, and why it cannot be rolled back, if that was tried.
type failing struct {
	revision   int
	since      time.Time
	noRollback string
}

// findFailing tells for how long the current revision has been failing for a reason that a rollback can fix.
func (g *Gatherer) findFailing(memo *Memo, f *Facts) {
	fails := !f.Pod.Ready && (f.PodObject == nil || f.Pod.Current) && reconcile.FixedByRollback(f.Pod.Finding)
	if !fails || !f.CanRollBack() {
		memo.failing = failing{}
		return
	}
	if memo.failing.revision != f.Current.Revision {
		memo.failing = failing{revision: f.Current.Revision, since: g.Clock.Now()}
	}
	f.Pod.Failing, f.Pod.FailingFor, f.NoRollback = true, g.Clock.Since(memo.failing.since), memo.failing.noRollback
	f.LookAgain = release.Soonest(f.LookAgain, max(0, f.Upgrades.RollbackAfter-f.Pod.FailingFor))
}

// unreadySince returns when the server stopped being ready, or was created.
func unreadySince(server *v1alpha1.JupyterServer, now time.Time) time.Time {
	if condition := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReady); condition != nil && condition.Status != metav1.ConditionTrue {
		return condition.LastTransitionTime.Time
	}
	if len(server.Status.Conditions) == 0 {
		return server.CreationTimestamp.Time
	}
	return now
}

// ownerOfPodName asks the API server which other owner's pod has the name of the server's: the informers hold only labelled
// pods. It returns "" if there is none.
func (g *Gatherer) ownerOfPodName(ctx context.Context, server *v1alpha1.JupyterServer, f *Facts) (string, error) {
	pod := &metav1.PartialObjectMetadata{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	pod, err := get(ctx, g.Live, server.Namespace, server.Name+"-0", pod)
	if pod == nil || err != nil || isPodOf(RefOf(server, f.Current), f.StatefulSet, pod) {
		return "", err
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return "the " + owner.Kind + " " + owner.Name, nil
	}
	return "nobody", nil
}

func (g *Gatherer) claimOf(ctx context.Context, server *v1alpha1.JupyterServer) (*corev1.PersistentVolumeClaim, error) {
	storage := server.Spec.Storage
	if storage.Ephemeral {
		return nil, nil
	}
	name := server.Name
	if storage.ExistingClaim != "" {
		name = storage.ExistingClaim
	}
	return get(ctx, g.Cached, server.Namespace, name, &corev1.PersistentVolumeClaim{})
}

// eventsOf returns the events of the objects that the pod depends on.
func (g *Gatherer) eventsOf(ctx context.Context, namespace string, set *appsv1.StatefulSet, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) ([]corev1.Event, error) {
	var uids []types.UID
	if set != nil {
		uids = append(uids, set.UID)
	}
	if pod != nil {
		uids = append(uids, pod.UID)
	}
	if claim != nil {
		uids = append(uids, claim.UID)
	}
	return g.events.of(ctx, g.Live, g.Clock, namespace, uids)
}

// StripPod is the transform of the informer of pods. It drops what a diagnosis does not look at.
func StripPod(in any) (any, error) {
	pod, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	diagnosis.Strip(pod)
	pod.ManagedFields, pod.Annotations = nil, nil
	maps.DeleteFunc(pod.Labels, func(label, _ string) bool {
		return label != v1alpha1.ServerLabel && label != appsv1.ControllerRevisionHashLabelKey
	})
	return pod, nil
}
