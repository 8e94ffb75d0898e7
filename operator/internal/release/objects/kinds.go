// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const (
	claimKind = "PersistentVolumeClaim"
	setKind   = "StatefulSet"

	// serverIndex is the informers' index of objects by the value of v1alpha1.ServerLabel.
	serverIndex = "server"
)

// Key names an object of a release, all of which live in one namespace.
type Key struct{ Kind, Name string }

func (k Key) String() string { return k.Kind + " " + k.Name }

// KeyOf returns the key of an object.
func KeyOf(o client.Object) Key {
	return Key{o.GetObjectKind().GroupVersionKind().Kind, o.GetName()}
}

// Kinds returns an empty object of each kind that a release may hold, to read and watch it with. Kinds of which only the
// metadata is needed are read as such.
func Kinds() []client.Object {
	return []client.Object{
		&appsv1.StatefulSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: setKind}},
		&corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: claimKind}},
		metadataOf(corev1.SchemeGroupVersion.WithKind("ConfigMap")),
		metadataOf(corev1.SchemeGroupVersion.WithKind("Service")),
		&networkingv1.Ingress{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}},
		metadataOf(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy")),
	}
}

func metadataOf(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(gvk)
	return m
}

// Index adds the index that a Client reads by to the informers of all Kinds.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range Kinds() {
		err := indexer.IndexField(ctx, kind, serverIndex, func(o client.Object) []string {
			if name := o.GetLabels()[v1alpha1.ServerLabel]; name != "" {
				return []string{name}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("indexing %T: %w", kind, err)
		}
	}
	return nil
}

// list returns the objects with the server's label that the informers hold.
func (c *Client) list(ctx context.Context, ref Ref) (map[Key]*live, error) {
	found := map[Key]*live{}
	for _, kind := range Kinds() {
		list, err := listOf(kind)
		if err != nil {
			return nil, err
		}
		options := []client.ListOption{client.InNamespace(ref.Namespace), client.MatchingFields{serverIndex: ref.Name}, client.UnsafeDisableDeepCopy}
		if err := c.client.List(ctx, list, options...); err != nil {
			return nil, fmt.Errorf("listing the objects of the release: %w", err)
		}
		gvk := kind.GetObjectKind().GroupVersionKind()
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			o, ok := item.(client.Object)
			if !ok {
				return errors.New("a list item is not an object")
			}
			found[Key{gvk.Kind, o.GetName()}] = liveOf(o, gvk)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func listOf(kind client.Object) (client.ObjectList, error) {
	switch o := kind.(type) {
	case *appsv1.StatefulSet:
		return &appsv1.StatefulSetList{}, nil
	case *corev1.PersistentVolumeClaim:
		return &corev1.PersistentVolumeClaimList{}, nil
	case *networkingv1.Ingress:
		return &networkingv1.IngressList{}, nil
	case *metav1.PartialObjectMetadata:
		list := &metav1.PartialObjectMetadataList{}
		gvk := o.GroupVersionKind()
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return list, nil
	}
	return nil, fmt.Errorf("listing %T is not supported", kind)
}
