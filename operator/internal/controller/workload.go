// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
)

const (
	// eventDelay is how long a start may take before its events are asked for: a start that goes well needs no answer.
	eventDelay = 3 * time.Second
	// longestLook is the longest time between two looks at a server that does not start.
	longestLook = 30 * time.Second
)

// workload is what was seen of the pod.
type workload struct {
	set *appsv1.StatefulSet
	pod *corev1.Pod
	// ready says that the pod answers.
	ready bool
	// current says that the pod is the one that the spec asks for.
	current bool
	// finding is why it does not run, or what is wrong with the provider of one that does. Nil: nothing to tell.
	finding *diagnosis.Finding
	// access is what the access control says of itself. Nil: there is none, or it does not answer.
	access    *diagnosis.Access
	lookAgain time.Duration
}

// observeWorkload reads the children from the informers, and the events only of a server that does not start.
func (r *Reconciler) observeWorkload(ctx context.Context, server *v1alpha1.JupyterServer, out outcome) (workload, error) {
	var w workload
	var err error
	if w.set, w.pod, err = r.ownPod(ctx, server); err != nil {
		return w, err
	}
	w.ready = w.pod != nil && w.pod.DeletionTimestamp == nil && isReady(w.pod)
	w.current = !out.podChanges && isCurrent(w.set, w.pod)
	if out.release == nil || server.Spec.Suspend {
		return w, nil
	}
	w.access = r.askAccess(ctx, server, w.pod)
	if !w.ready || !w.current {
		r.access.forget(client.ObjectKeyFromObject(server)) // what follows is another run
		return w, r.diagnose(ctx, server, out, &w)
	}
	if server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC {
		return w, nil
	}
	last, _ := r.access.get(client.ObjectKeyFromObject(server))
	last = last.after(w.access)
	r.access.set(client.ObjectKeyFromObject(server), last)
	w.lookAgain = last.nextLook()
	if finding, found := diagnosis.ProviderTrouble(last.said); found {
		w.finding = &finding
	}
	return w, nil
}

// ownPod is the StatefulSet of a server, and its pod. What only has the names is neither.
func (r *Reconciler) ownPod(ctx context.Context, server *v1alpha1.JupyterServer) (*appsv1.StatefulSet, *corev1.Pod, error) {
	set, err := get(ctx, r.Client, server.Namespace, server.Name, &appsv1.StatefulSet{})
	if err != nil {
		return nil, nil, err
	}
	pod, err := get(ctx, r.Client, server.Namespace, server.Name+"-0", &corev1.Pod{})
	if err != nil {
		return nil, nil, err
	}
	if pod != nil && !isPodOf(server, set, pod) {
		pod = nil
	}
	if set != nil && !release.IsOwnSet(server, set) {
		set = nil
	}
	return set, pod, nil
}

// isPodOf says whether a pod is of the StatefulSet of a server, or of an earlier one. One that an earlier one has left to nobody, which its
// revision tells, is taken up by the next.
func isPodOf(server *v1alpha1.JupyterServer, set *appsv1.StatefulSet, pod client.Object) bool {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return pod.GetLabels()[appsv1.ControllerRevisionHashLabelKey] != ""
	}
	isForeign := set != nil && set.UID == owner.UID && !release.IsOwnSet(server, set)
	return release.IsSet(server, *owner) && !isForeign
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// jupyterOf is the status of the container that Jupyter runs in. Nil: the kubelet has not told of it yet.
func jupyterOf(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].Name == diagnosis.JupyterContainer {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// isCurrent says whether the pod was made from the newest template.
func isCurrent(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	return pod != nil && isObserved(set) &&
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] == set.Status.UpdateRevision
}

// isObserved says whether the StatefulSet's controller has looked at what was applied last: before, there is nothing that it could tell.
func isObserved(set *appsv1.StatefulSet) bool {
	return set != nil && set.Status.ObservedGeneration >= set.Generation
}

// diagnose looks for the root cause, at first in what the informers show, after a moment in the events as well.
func (r *Reconciler) diagnose(ctx context.Context, server *v1alpha1.JupyterServer, out outcome, w *workload) error {
	if out.blocked != nil && !out.podChanges && w.set == nil {
		return nil // nobody makes a pod
	}
	unready := r.Clock.Since(unreadySince(server, r.Clock.Now()))
	if w.pod == nil && unready < eventDelay {
		w.lookAgain = eventDelay
		return nil
	}
	claim, err := r.claim(ctx, server)
	if err != nil {
		return err
	}
	observation := diagnosis.Observation{Now: r.Clock.Now(), StatefulSet: w.set, Pod: w.pod, Claim: claim, Access: w.access}
	w.lookAgain = min(max(unready/2, eventDelay), longestLook)
	if unready >= eventDelay && !out.podChanges && (w.pod != nil || isObserved(w.set)) {
		if observation.Events, err = r.events(ctx, server.Namespace, w.set, w.pod, claim); err != nil {
			return err
		}
	}
	if w.pod == nil && isObserved(w.set) && !isStopped(w.set) {
		if observation.NameTakenBy, err = r.whoHasThePod(ctx, server, w.set); err != nil {
			return err
		}
	}
	if finding, found := diagnosis.Diagnose(observation); found {
		w.finding = &finding
		w.lookAgain = soonest(w.lookAgain, finding.Recheck)
	}
	return nil
}

// whoHasThePod asks the API server for a pod of somebody else with the name of the server's: the informers know of labelled pods only.
// Empty: there is none.
func (r *Reconciler) whoHasThePod(ctx context.Context, server *v1alpha1.JupyterServer, set *appsv1.StatefulSet) (string, error) {
	pod := &metav1.PartialObjectMetadata{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	pod, err := get(ctx, r.Live, server.Namespace, server.Name+"-0", pod)
	if pod == nil || err != nil || isPodOf(server, set, pod) {
		return "", err
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return "the " + owner.Kind + " " + owner.Name, nil
	}
	return "nobody", nil
}

func (r *Reconciler) claim(ctx context.Context, server *v1alpha1.JupyterServer) (*corev1.PersistentVolumeClaim, error) {
	storage := server.Spec.Storage
	if storage.Ephemeral {
		return nil, nil
	}
	name := server.Name
	if storage.ExistingClaim != "" {
		name = storage.ExistingClaim
	}
	return get(ctx, r.Client, server.Namespace, name, &corev1.PersistentVolumeClaim{})
}

// events are those of the objects that the pod hangs on.
func (r *Reconciler) events(ctx context.Context, namespace string, set *appsv1.StatefulSet, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) ([]corev1.Event, error) {
	var objects []types.UID
	if set != nil {
		objects = append(objects, set.UID)
	}
	if pod != nil {
		objects = append(objects, pod.UID)
	}
	if claim != nil {
		objects = append(objects, claim.UID)
	}
	return r.shared.of(ctx, r.Live, r.Clock, namespace, objects)
}

// get reads an object from the informers, or nil where there is none.
func get[T client.Object](ctx context.Context, c client.Reader, namespace, name string, into T) (T, error) {
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, into)
	if client.IgnoreNotFound(err) != nil {
		return into, fmt.Errorf("reading %T %s: %w", into, name, err)
	}
	if err != nil {
		var none T
		return none, nil
	}
	return into, nil
}

// StripPod is the transform of the informer of pods: it drops what nobody looks at.
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
