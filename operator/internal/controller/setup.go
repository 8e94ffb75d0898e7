// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// The rules below are what the operator may do, and nothing else. `make generate` makes the chart's roles of them.
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

// secretIndex is the informer's index of servers by the Secrets that their specs name.
const secretIndex = "secret"

// bundleIndex is the informer's index of servers by the ConfigMap that their specs name.
const bundleIndex = "bundle"

// claimIndex is the informer's index of servers by the claim that their specs name.
const claimIndex = "claim"

// CacheOptions are what the informers hold: of objects of a release only those with the server's label, of nothing more
// than is looked at. Helm's records stay out, they are large and read by name.
func CacheOptions() cache.Options {
	exists, err := labels.NewRequirement(v1alpha1.ServerLabel, selection.Exists, nil)
	if err != nil {
		panic(err) // a constant is wrong
	}
	ours := labels.NewSelector().Add(*exists)
	notRecords := fields.OneTermNotEqualSelector("type", string(release.RecordType))
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.StatefulSet{}:           {Label: ours, Transform: release.Strip},
			&corev1.Service{}:               {Label: ours, Transform: release.Strip},
			&networkingv1.Ingress{}:         {Label: ours, Transform: release.Strip},
			&networkingv1.NetworkPolicy{}:   {Label: ours, Transform: release.Strip},
			&corev1.PersistentVolumeClaim{}: {Transform: release.Strip}, // of others too: existingClaim
			&corev1.ConfigMap{}:             {Transform: release.Strip}, // of others too: caBundle
			&corev1.Pod{}:                   {Label: ours, Transform: StripPod},
			&corev1.Secret{}:                {Field: notRecords, Transform: StripSecret}, // of others too: secretKeyRef
			judge.NamespaceObject():         {Transform: cache.TransformStripManagedFields()},
		},
	}
}

// Options are the settings of the controller, and what it shares with the webhook.
type Options struct {
	// Renderer renders servers.
	Renderer *render.Renderer
	// Judge asks the policies.
	Judge *judge.Judge
	// RulesChanged wakes all servers: the policies changed. Nil: they never do.
	RulesChanged <-chan event.GenericEvent
	// Shard selects the servers to work on. All others are looked at only: their routes count. Nil: all.
	Shard labels.Selector
	// Upgrades says how servers are upgraded.
	Upgrades config.Release
	// Concurrency is how many servers are reconciled at once.
	Concurrency int
	// Patience is how soon what others change again and again is put back. Its zero value stands for release.DefaultPatience.
	Patience release.Patience
	// Metrics tell of drift that was repaired. Nil: nobody asks.
	Metrics *release.Metrics
}

// Setup adds the controller to a manager whose cache was made with CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, options Options) error {
	kube, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	clk := clock.RealClock{}
	shard := options.Shard
	if shard == nil {
		shard = labels.Everything()
	}
	engine := release.NewEngine(mgr.GetClient(), mgr.GetAPIReader(), kube, options.Renderer.ChartMetadata(), clk)
	engine.Patience, engine.Metrics = options.Patience, options.Metrics
	r := &Reconciler{
		Client:   mgr.GetClient(),
		Live:     mgr.GetAPIReader(),
		Renderer: options.Renderer,
		Judge:    options.Judge,
		Cluster:  judge.Cluster{Informed: mgr.GetClient(), Live: mgr.GetAPIReader(), Reservations: &judge.Reservations{}},
		Engine:   engine,
		Events:   mgr.GetEventRecorder(release.FieldManager),
		Access:   NewAccessClient(),
		Clock:    clk,
		Shard:    shard,
		Upgrades: options.Upgrades,
	}
	return r.watch(mgr, options)
}

// watch wires what wakes a server: its spec, its objects and its pod, what its spec names, and what the policies look at.
func (r *Reconciler) watch(mgr ctrl.Manager, options Options) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("jupyterserver").
		For(&v1alpha1.JupyterServer{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, labelsOrAnnotationsChange))).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byLabel)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.bySecret)).
		Watches(&v1alpha1.JupyterServer{}, r.wakeFreed()).
		WatchesMetadata(judge.NamespaceObject(), handler.EnqueueRequestsFromMapFunc(r.inNamespace), builder.WithPredicates(labelsOrAnnotationsChange)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: options.Concurrency,
			EnableWarmup:            ptr.To(true), // who leads next has its informers filled already
		})
	if options.RulesChanged != nil {
		b = b.WatchesRawSource(source.Channel(options.RulesChanged, handler.EnqueueRequestsFromMapFunc(r.inNamespace)))
	}
	for _, kind := range release.Kinds() {
		mapping := byLabel
		switch kind.GetObjectKind().GroupVersionKind().Kind {
		case "PersistentVolumeClaim":
			mapping = r.byReference(claimIndex)
		case "ConfigMap":
			mapping = r.byReference(bundleIndex)
		case "Ingress":
			mapping = r.byIngress
		}
		if m, isMetadata := kind.(*metav1.PartialObjectMetadata); isMetadata {
			b = b.WatchesMetadata(m, handler.EnqueueRequestsFromMapFunc(mapping))
			continue
		}
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(mapping))
	}
	if err := b.Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		ctx, cancel := untilTheEnd(ctx)
		defer cancel()
		return r.Reconcile(ctx, request)
	})); err != nil {
		return fmt.Errorf("setting up the controller: %w", err)
	}
	return nil
}

// lastTurn is how long a turn may go on that is under way when the operator is stopped. It is less than the time that the process
// waits for it (--graceful-shutdown-timeout).
const lastTurn = 10 * time.Second

// untilTheEnd lets a turn go on when the operator is stopped, so that it leaves no release half-way, and no request that the API
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

// labelsOrAnnotationsChange is when rules may see another server or namespace.
var labelsOrAnnotationsChange = predicate.Or(predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{})

// inNamespace maps a namespace to its servers, and an object without a name to all.
func (r *Reconciler) inNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var servers v1alpha1.JupyterServerList
	if err := r.Client.List(ctx, &servers, client.InNamespace(o.GetName()), client.UnsafeDisableDeepCopy); err != nil {
		return nil // only when the informers stop
	}
	requests := make([]reconcile.Request, len(servers.Items))
	for i := range servers.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&servers.Items[i])
	}
	return requests
}

// byIngress maps an Ingress to its server, and to those for whom its routes are free, perhaps.
func (r *Reconciler) byIngress(ctx context.Context, o client.Object) []reconcile.Request {
	return append(byLabel(ctx, o), r.freed(ctx, o)...)
}

// wakeFreed wakes those for whom a route is free, perhaps, because another server goes away or elsewhere.
func (r *Reconciler) wakeFreed() handler.EventHandler {
	wake := func(ctx context.Context, o client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range r.freed(ctx, o) {
			queue.Add(request)
		}
	}
	return handler.Funcs{
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(ctx, e.Object, queue)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() {
				wake(ctx, e.ObjectOld, queue)
			}
		},
	}
}

// byLabel maps an object of a server to the server. A label that is no name maps to nothing that exists.
func byLabel(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[v1alpha1.ServerLabel]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// byReference maps an object to the servers whose specs name it, beside the server that it belongs to.
func (r *Reconciler) byReference(field string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		requests := byLabel(ctx, o)
		var servers v1alpha1.JupyterServerList
		err := r.Client.List(ctx, &servers, client.InNamespace(o.GetNamespace()), client.MatchingFields{field: o.GetName()})
		if err != nil {
			return requests // only when the informers stop
		}
		for i := range servers.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&servers.Items[i])})
		}
		return requests
	}
}

// bySecret maps a Secret to the servers whose specs name it, and to the one whose own has this name: somebody else's has no label.
func (r *Reconciler) bySecret(ctx context.Context, o client.Object) []reconcile.Request {
	requests := r.byReference(secretIndex)(ctx, o)
	if name := render.OfSecret(o.GetName()); name != "" {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}})
	}
	return requests
}

func index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := release.IndexChildren(ctx, indexer); err != nil {
		return err
	}
	if err := judge.Index(ctx, indexer); err != nil {
		return err
	}
	indexes := map[string]func(*v1alpha1.JupyterServer) []string{
		secretIndex: secretNames,
		claimIndex: func(s *v1alpha1.JupyterServer) []string {
			if s.Spec.Storage.ExistingClaim == "" {
				return nil
			}
			return []string{s.Spec.Storage.ExistingClaim}
		},
		bundleIndex: func(s *v1alpha1.JupyterServer) []string {
			if ref := bundleRef(s); ref != nil {
				return []string{ref.Name}
			}
			return nil
		},
	}
	for field, names := range indexes {
		err := indexer.IndexField(ctx, &v1alpha1.JupyterServer{}, field, func(o client.Object) []string {
			server, ok := o.(*v1alpha1.JupyterServer)
			if !ok {
				return nil
			}
			return names(server)
		})
		if err != nil {
			return fmt.Errorf("indexing servers by %s: %w", field, err)
		}
	}
	return nil
}
