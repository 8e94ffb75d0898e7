// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/records"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// namedIndex is the informers' index of servers by the objects that their specs name.
const namedIndex = "named"

// CacheOptions are what the informers hold: of the objects of releases only those with the server's label, and of every object
// only what is looked at. Helm's records are left out: they are large, and read by name.
func CacheOptions() cache.Options {
	exists, err := labels.NewRequirement(v1alpha1.ServerLabel, selection.Exists, nil)
	if err != nil {
		panic(err) // a constant is wrong
	}
	ours := labels.NewSelector().Add(*exists)
	notRecords := fields.OneTermNotEqualSelector("type", string(records.SecretType))
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.StatefulSet{}:           {Label: ours, Transform: objects.Strip},
			&corev1.Service{}:               {Label: ours, Transform: objects.Strip},
			&networkingv1.Ingress{}:         {Label: ours, Transform: objects.Strip},
			&networkingv1.NetworkPolicy{}:   {Label: ours, Transform: objects.Strip},
			&corev1.PersistentVolumeClaim{}: {Transform: objects.Strip}, // of others too: existingClaim
			&corev1.ConfigMap{}:             {Transform: objects.Strip}, // of others too: caBundle
			&corev1.Pod{}:                   {Label: ours, Transform: gather.StripPod},
			&corev1.Secret{}:                {Field: notRecords, Transform: credentials.Strip}, // of others too: secretKeyRef
			judge.NamespaceObject():         {Transform: cache.TransformStripManagedFields()},
		},
	}
}

// index adds the indexes that the packages of the operator read by to the informers.
func index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := objects.Index(ctx, indexer); err != nil {
		return err
	}
	if err := judge.Index(ctx, indexer); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &v1alpha1.JupyterServer{}, namedIndex, func(o client.Object) []string {
		if server, ok := o.(*v1alpha1.JupyterServer); ok {
			return gather.Named(&server.Spec)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("indexing servers by what their specs name: %w", err)
	}
	return nil
}

// labelsOrAnnotationsChange reports changes that policies may see of a server or a namespace.
var labelsOrAnnotationsChange = predicate.Or(predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{})

// isNotNew leaves out objects that were created, or are seen for the first time.
var isNotNew = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}

func requestFor(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// requests lists servers. There are none while the informers are stopping.
func (c *Controller) requests(ctx context.Context, options ...client.ListOption) (found []reconcile.Request) {
	var servers v1alpha1.JupyterServerList
	if err := c.client.List(ctx, &servers, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil
	}
	for _, server := range servers.Items {
		found = append(found, requestFor(server.Namespace, server.Name))
	}
	return found
}

// inNamespace maps a namespace to its servers, and an object without a name to all servers.
func (c *Controller) inNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return c.requests(ctx, client.InNamespace(o.GetName()))
}

// byLabel maps an object to the server that its label names, whether that exists or not.
func byLabel(_ context.Context, o client.Object) []reconcile.Request {
	if name := o.GetLabels()[v1alpha1.ServerLabel]; name != "" {
		return []reconcile.Request{requestFor(o.GetNamespace(), name)}
	}
	return nil
}

// byReference maps an object of a kind to its server and to the servers whose specs name it.
func (c *Controller) byReference(kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		named := client.MatchingFields{namedIndex: gather.NameOf(kind, o.GetName())}
		return append(byLabel(ctx, o), c.requests(ctx, client.InNamespace(o.GetNamespace()), named)...)
	}
}

// bySecret maps a Secret to the servers whose specs name it, and to the one whose credentials Secret has this name: a foreign one
// has no label.
func (c *Controller) bySecret(ctx context.Context, o client.Object) []reconcile.Request {
	requests := c.byReference(gather.Secret)(ctx, o)
	if name := render.OfSecret(o.GetName()); name != "" {
		requests = append(requests, requestFor(o.GetNamespace(), name))
	}
	return requests
}

// byIngress maps an Ingress to its server, and to servers that may now get its routes.
func (c *Controller) byIngress(ctx context.Context, o client.Object) []reconcile.Request {
	return append(byLabel(ctx, o), c.freed(ctx, o)...)
}

// freed maps a server or an Ingress that is deleted or moves to the servers near its routes that the policies deny.
func (c *Controller) freed(ctx context.Context, o client.Object) (requests []reconcile.Request) {
	servers, err := c.cluster.Near(ctx, o)
	if err != nil {
		return nil // the informers are stopping
	}
	for _, server := range servers {
		if meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant) {
			requests = append(requests, requestFor(server.Namespace, server.Name))
		}
	}
	return requests
}
