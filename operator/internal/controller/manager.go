// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/backoff"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// These markers are what the controller may do: `make generate` writes the role from them. The roles of the policies, which read namespaces,
// and of the webhook are in helm-chart/templates.
//
// +kubebuilder:rbac:groups=jupyterserver.dev,resources=jupyterservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=jupyterserver.dev,resources=jupyterservers/status,verbs=patch
// +kubebuilder:rbac:groups=jupyterserver.dev,resources=jupyterservers/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses;networkpolicies,verbs=get;list;watch;create;patch;delete

// Options are the settings of the controller, and what it shares with the webhook.
type Options struct {
	Renderer     *render.Renderer
	Judge        *judge.Judge
	RulesChanged <-chan event.GenericEvent // wakes all servers because the policies changed; may be nil
	Shard        labels.Selector           // of the servers to work on; of all others only the routes count; nil: all
	Upgrades     config.Release
	Concurrency  int              // how many servers are reconciled at the same time
	Backoff      backoff.Limits   // how soon objects are repaired that another client keeps changing; zero: backoff.DefaultLimits
	Metrics      *release.Metrics // of repairs; may be nil
}

// Setup adds the controller to a manager whose cache was created with CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, options Options) error {
	if err := index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	shard := options.Shard
	if shard == nil {
		shard = labels.Everything()
	}
	cached, live, clk := mgr.GetClient(), mgr.GetAPIReader(), clock.RealClock{}
	routes := &judge.Reservations{}
	cluster := judge.Cluster{Informed: cached, Live: live, Reservations: routes}
	releases := release.New(cached, live, clk, release.Options{
		Chart: options.Renderer.ChartMetadata(), Limits: options.Backoff, Metrics: options.Metrics,
	})
	c := &Controller{
		client: cached,
		gather: &gather.Gatherer{
			Cached: cached, Live: live, Renderer: options.Renderer, Judge: options.Judge, Cluster: cluster, Releases: releases,
			Events: gather.NewEvents(live, clk), Access: gather.NewAccessClient(), Clock: clk, Config: options.Upgrades,
		},
		releases: releases,
		routes:   routes,
		cluster:  cluster,
		events:   mgr.GetEventRecorder(objects.FieldManager),
		clock:    clk,
		shard:    shard,
		memory:   memory{dropped: func(m *memo) { releases.Forget(&m.release) }},
	}
	return c.watch(mgr, options)
}

// watch wires what wakes a server: its spec, its objects and its pod, what its spec names, and what policies look at.
func (c *Controller) watch(mgr ctrl.Manager, options Options) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("jupyterserver").
		For(&v1alpha1.JupyterServer{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, labelsOrAnnotationsChange))).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byLabel)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.bySecret)).
		Watches(&v1alpha1.JupyterServer{}, handler.EnqueueRequestsFromMapFunc(c.freed), builder.WithPredicates(predicate.GenerationChangedPredicate{}, isNotNew)).
		WatchesMetadata(judge.NamespaceObject(), handler.EnqueueRequestsFromMapFunc(c.inNamespace), builder.WithPredicates(labelsOrAnnotationsChange)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: options.Concurrency,
			EnableWarmup:            new(true), // a standby has its informers filled already
		})
	if options.RulesChanged != nil {
		b = b.WatchesRawSource(source.Channel(options.RulesChanged, handler.EnqueueRequestsFromMapFunc(c.inNamespace)))
	}
	for _, kind := range objects.Kinds() {
		mapping := byLabel
		switch kind.Object.GetObjectKind().GroupVersionKind().Kind {
		case "PersistentVolumeClaim":
			mapping = c.byReference(gather.Claim)
		case "ConfigMap":
			mapping = c.byReference(gather.ConfigMap)
		case "Ingress":
			mapping = c.byIngress
		}
		if m, isMetadata := kind.Object.(*metav1.PartialObjectMetadata); isMetadata {
			b = b.WatchesMetadata(m, handler.EnqueueRequestsFromMapFunc(mapping))
			continue
		}
		b = b.Watches(kind.Object, handler.EnqueueRequestsFromMapFunc(mapping))
	}
	if err := b.Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		ctx, cancel := untilTheEnd(ctx)
		defer cancel()
		return c.Reconcile(ctx, request)
	})); err != nil {
		return fmt.Errorf("setting up the controller: %w", err)
	}
	return nil
}

// lastTurn is how long a turn may take that is under way when the operator is stopped. It is less than what the process waits for
// (--graceful-shutdown-timeout).
const lastTurn = 10 * time.Second

// untilTheEnd lets a turn finish when the operator is stopped, so that it leaves no release half-way and no request that the API
// server still works on when the next leader starts.
func untilTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	turn, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		late := time.NewTimer(lastTurn)
		defer late.Stop()
		select {
		case <-turn.Done():
		case <-late.C:
			cancel()
		}
	})
	return turn, func() { stop(); cancel() }
}
