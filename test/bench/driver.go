// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// driver acts as users, the StatefulSet controller and the kubelet, and observes the results. It counts its own requests, so that
// they can be subtracted.
type driver struct {
	client      client.WithWatch
	layout      layout
	concurrency int
	requests    requestCount
}

func newDriver(config *rest.Config, l layout, concurrency int) (*driver, error) {
	d := &driver{layout: l, concurrency: concurrency, requests: requestCount{made: map[call]float64{}}}
	config = rest.CopyConfig(config)
	config.Wrap(d.requests.wrap)
	var err error
	if d.client, err = apiservertest.NewClient(config); err != nil {
		return nil, err
	}
	return d, nil
}

// each calls do with the numbers from 1 to n, with the operator's concurrency.
func (d *driver) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(d.concurrency)
	for i := 1; i <= n && inGroup.Err() == nil; i++ {
		group.Go(func() error { return do(inGroup, i) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err() // otherwise skipped numbers would count as done
}

func (d *driver) createNamespaces(ctx context.Context, n int) error {
	for i := 0; i <= n; i++ {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.layout.namespace(i)}}
		if i > 1 && namespace.Name == d.layout.namespace(i-1) {
			continue
		}
		if err := d.client.Create(ctx, namespace); err != nil {
			return fmt.Errorf("creating the namespace %s: %w", namespace.Name, err)
		}
	}
	return nil
}

// create returns the UID of the new server.
func (d *driver) create(ctx context.Context, i int) (types.UID, error) {
	server := d.layout.server(i)
	if err := d.client.Create(ctx, server); err != nil {
		return "", fmt.Errorf("creating %s: %w", name(i), err)
	}
	return server.GetUID(), nil
}

func (d *driver) update(ctx context.Context, i int) error {
	if err := d.client.Patch(ctx, d.layout.server(i), client.RawPatch(types.MergePatchType, []byte(newImage))); err != nil {
		return fmt.Errorf("updating %s: %w", name(i), err)
	}
	return nil
}

func (d *driver) remove(ctx context.Context, i int) error {
	if err := d.client.Delete(ctx, d.layout.server(i)); err != nil {
		return fmt.Errorf("deleting %s: %w", name(i), err)
	}
	return nil
}

// touch changes a StatefulSet in a way that triggers the operator but needs no action.
func (d *driver) touch(ctx context.Context, i int) error {
	set := &appsv1.StatefulSet{ObjectMeta: d.meta(i)}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"example.org/touched":"yes"}}}`))
	if err := d.client.Patch(ctx, set, patch); err != nil {
		return fmt.Errorf("annotating the StatefulSet %s: %w", name(i), err)
	}
	return nil
}

// introduceDrift deletes or edits the Service of a server, alternately.
func (d *driver) introduceDrift(ctx context.Context, i int) error {
	service := &corev1.Service{ObjectMeta: d.meta(i)}
	if i%2 == 0 {
		if err := d.client.Delete(ctx, service); err != nil {
			return fmt.Errorf("deleting the Service %s: %w", name(i), err)
		}
		return nil
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"selector":{"app.kubernetes.io/name":"spoilt"}}}`))
	if err := d.client.Patch(ctx, service, patch); err != nil {
		return fmt.Errorf("editing the Service %s: %w", name(i), err)
	}
	return nil
}

func (d *driver) meta(i int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name(i), Namespace: d.layout.namespace(i)}
}

// start acts as the StatefulSet controller and the kubelet: it makes the pod of a server run at the newest revision.
func (d *driver) start(ctx context.Context, i int) error {
	set := &appsv1.StatefulSet{}
	if err := d.client.Get(ctx, types.NamespacedName{Namespace: d.layout.namespace(i), Name: name(i)}, set); err != nil {
		return fmt.Errorf("reading the StatefulSet %s: %w", name(i), err)
	}
	revision := fmt.Sprintf("revision-%d", set.Generation)
	if err := d.runPod(ctx, set, revision); err != nil {
		return fmt.Errorf("starting the pod of %s: %w", name(i), err)
	}
	set.Status = appsv1.StatefulSetStatus{
		ObservedGeneration: set.Generation, Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, CurrentReplicas: 1, UpdatedReplicas: 1,
		CurrentRevision: revision, UpdateRevision: revision,
	}
	if err := d.client.Status().Update(ctx, set); err != nil {
		return fmt.Errorf("writing the status of the StatefulSet %s: %w", name(i), err)
	}
	return nil
}

// runPod creates a running pod of a StatefulSet, after deleting one of an older revision.
func (d *driver) runPod(ctx context.Context, set *appsv1.StatefulSet, revision string) error {
	template := set.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Namespace = set.Name+"-0", set.Namespace
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
	err := d.client.Create(ctx, pod)
	if apierrors.IsAlreadyExists(err) {
		if err := d.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}}, client.GracePeriodSeconds(0)); err != nil {
			return err
		}
		err = d.client.Create(ctx, pod)
	}
	if err != nil {
		return err
	}
	now := metav1.Now()
	pod.Status = corev1.PodStatus{
		Phase:             corev1.PodRunning,
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}},
	}
	return d.client.Status().Update(ctx, pod)
}

// follow starts a watch from the current state. It resumes if the API server ends the watch, as it does mostly with slow readers on
// a busy machine.
func (d *driver) follow(ctx context.Context, list client.ObjectList) (watch.Interface, error) {
	if err := d.client.List(ctx, list, client.Limit(1)); err != nil {
		return nil, fmt.Errorf("starting a watch: %w", err)
	}
	events, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return d.client.Watch(ctx, list, &client.ListOptions{Raw: &options})
		},
	})
	if err != nil {
		return nil, fmt.Errorf("starting a watch: %w", err)
	}
	return events, nil
}

// until calls do and waits until a watch that started before has returned n matching objects. It calls seen with their number so
// far.
func (d *driver) until(ctx context.Context, list client.ObjectList, n int, match func(client.Object) bool, seen func(int), do func(context.Context) error) error {
	events, err := d.follow(ctx, list)
	if err != nil {
		return err
	}
	defer events.Stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return do(ctx) })
	group.Go(func() error { return collect(ctx, events, n, match, seen) })
	return group.Wait()
}

func collect(ctx context.Context, events watch.Interface, n int, match func(client.Object) bool, seen func(int)) error {
	found := sets.New[types.NamespacedName]()
	for found.Len() < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d objects matched: %w", found.Len(), n, ctx.Err())
		case event, open := <-events.ResultChan():
			if !open {
				return fmt.Errorf("the watch ended when %d of %d objects matched", found.Len(), n)
			}
			object, ok := event.Object.(client.Object)
			if !ok {
				return fmt.Errorf("the watch failed: %w", apierrors.FromObject(event.Object))
			}
			if event.Type == watch.Deleted || !match(object) || found.Has(client.ObjectKeyFromObject(object)) {
				continue
			}
			found.Insert(client.ObjectKeyFromObject(object))
			seen(found.Len())
		}
	}
	return nil
}

// released reports whether the newest spec of a server is released.
func released(o client.Object) bool {
	server, ok := o.(*v1alpha1.JupyterServer)
	if !ok {
		return false
	}
	condition := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReleased)
	return condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration == server.Generation
}

// releasedAgain reports whether a spec newer than the first is released.
func releasedAgain(o client.Object) bool { return o.GetGeneration() > 1 && released(o) }

func running(o client.Object) bool {
	server, ok := o.(*v1alpha1.JupyterServer)
	return ok && server.Status.State == v1alpha1.StateRunning && released(o)
}

// isRendered reports whether a Service has its rendered fields.
func isRendered(o client.Object) bool {
	service, ok := o.(*corev1.Service)
	return ok && service.Labels[v1alpha1.ServerLabel] != "" && service.Spec.Selector["app.kubernetes.io/name"] == "jupyter-server"
}

// requestCount counts requests like the API server.
type requestCount struct {
	mu   sync.Mutex
	made map[call]float64
}

func (c *requestCount) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if made, ok := callOfRequest(r); ok {
			c.add(made)
		}
		return next.RoundTrip(r)
	})
}

func (c *requestCount) add(made call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made[made]++
}

func (c *requestCount) snapshot() map[call]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return without(c.made)
}

var (
	requests = &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	verbs    = map[string]string{
		"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
		"get": "GET", "list": "LIST", "watch": "WATCH",
	}
)

// callOfRequest returns a request in terms of the API server's metrics (k8s.io/apiserver/pkg/endpoints/metrics, CleanVerb), or false
// for a non-resource request.
func callOfRequest(r *http.Request) (call, bool) {
	info, err := requests.NewRequestInfo(r)
	if err != nil || !info.IsResourceRequest {
		return call{}, false
	}
	made := call{verb: verbs[info.Verb], resource: info.Resource, dryRun: r.URL.Query().Get("dryRun") != ""}
	if r.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType) {
		made.verb = "APPLY"
	}
	if info.Subresource != "" {
		made.resource += "/" + info.Subresource
	}
	return made, true
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
