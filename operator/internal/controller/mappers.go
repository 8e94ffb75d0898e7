// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// labelsOrAnnotationsChange reports changes that policies may see of a server or a namespace.
var labelsOrAnnotationsChange = predicate.Or(predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{})

// inNamespace maps a namespace to its servers, and an object without a name to all servers.
func (c *Controller) inNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var servers v1alpha1.JupyterServerList
	if err := c.client.List(ctx, &servers, client.InNamespace(o.GetName()), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the informers are stopping
	}
	requests := make([]reconcile.Request, len(servers.Items))
	for i := range servers.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&servers.Items[i])
	}
	return requests
}

// byIngress maps an Ingress to its server, and to servers that may now get its routes.
func (c *Controller) byIngress(ctx context.Context, o client.Object) []reconcile.Request {
	return append(byLabel(ctx, o), c.freed(ctx, o)...)
}

// wakeFreed wakes servers that may get a route because another server is deleted or moves.
func (c *Controller) wakeFreed() handler.EventHandler {
	wake := func(ctx context.Context, o client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range c.freed(ctx, o) {
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

// byLabel maps an object to the server that its label names, whether that exists or not.
func byLabel(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[v1alpha1.ServerLabel]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// byReference maps an object of a kind to its server and to the servers whose specs name it.
func (c *Controller) byReference(kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		requests := byLabel(ctx, o)
		var servers v1alpha1.JupyterServerList
		err := c.client.List(ctx, &servers, client.InNamespace(o.GetNamespace()), client.MatchingFields{namedIndex: gather.NameOf(kind, o.GetName())})
		if err != nil {
			return requests // the informers are stopping
		}
		for i := range servers.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&servers.Items[i])})
		}
		return requests
	}
}

// bySecret maps a Secret to the servers whose specs name it, and to the one whose credentials Secret has this name: a foreign one
// has no label.
func (c *Controller) bySecret(ctx context.Context, o client.Object) []reconcile.Request {
	requests := c.byReference(gather.Secret)(ctx, o)
	if name := render.OfSecret(o.GetName()); name != "" {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}})
	}
	return requests
}

// freed maps a server or an Ingress that is deleted or moves to the servers near its routes that the policies deny.
func (c *Controller) freed(ctx context.Context, o client.Object) []reconcile.Request {
	servers, err := c.cluster.Near(ctx, o)
	if err != nil {
		return nil // the informers are stopping
	}
	var requests []reconcile.Request
	for _, server := range servers {
		if meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(server)})
		}
	}
	return requests
}
