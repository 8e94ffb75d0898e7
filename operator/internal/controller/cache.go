// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/records"
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
	err := indexer.IndexField(ctx, &v1alpha1.JupyterServer{}, namedIndex, func(o client.Object) []string {
		server, ok := o.(*v1alpha1.JupyterServer)
		if !ok {
			return nil
		}
		return gather.Named(&server.Spec)
	})
	if err != nil {
		return fmt.Errorf("indexing servers by what their specs name: %w", err)
	}
	return nil
}
