// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package objects compares the objects of a release with the cluster and applies what differs, by server-side apply. Read diff.go
// first, then apply.go.
//
// What may not live here: records, and when an object is applied.
package objects

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// FieldManager is the field manager of everything that the operator applies.
const FieldManager = "jupyter-server-operator"

const (
	claimKind = "PersistentVolumeClaim"
	setKind   = "StatefulSet"

	// serverIndex is the informers' index of objects by the value of v1alpha1.ServerLabel.
	serverIndex = "server"
)

// Ref identifies a release and the JupyterServer that owns it.
type Ref struct {
	Namespace, Name string
	UID             types.UID // of the JupyterServer
	Installed       bool      // the server was released before, so that orphans of the release are its own
	Retain          bool      // the claim outlives the server
	Stop            bool      // the StatefulSet is scaled to zero, whatever it was rendered with
}

// Owner returns the owner reference that has the garbage collector delete an object with its server, also while the
// operator is down.
func (r Ref) Owner() metav1.OwnerReference {
	server := &metav1.ObjectMeta{Name: r.Name, UID: r.UID}
	return *metav1.NewControllerRef(server, v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
}

// Ownership is whose an object is, by its owner references.
type Ownership string

// An object has no owner, belongs to the server, belongs to a deleted server of the same name and is about to be collected, or
// belongs to another owner.
const (
	Orphan       Ownership = "Orphan"
	Own          Ownership = "Own"
	Predecessors Ownership = "Predecessors"
	Foreign      Ownership = "Foreign"
)

// Ownership returns whose an object with these owners is.
func (r Ref) Ownership(owners []metav1.OwnerReference) Ownership {
	switch {
	case len(owners) == 0:
		return Orphan
	case slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool { return owner.UID == r.UID }):
		return Own
	case slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool { return IsServer(owner) && owner.Name == r.Name }):
		return Predecessors
	}
	return Foreign
}

// OwnsSet reports whether a StatefulSet is the server's. One without owners is if the operator or Helm applied it.
func (r Ref) OwnsSet(set *appsv1.StatefulSet) bool {
	return liveOf(set, appsv1.SchemeGroupVersion.WithKind(setKind)).mayChange(r)
}

// IsServer reports whether an owner is a JupyterServer of this API group, of whatever version.
func IsServer(owner metav1.OwnerReference) bool {
	return isKind(owner, v1alpha1.GroupVersion.Group, v1alpha1.Kind)
}

// IsSet reports whether an owner is a StatefulSet of a name.
func IsSet(owner metav1.OwnerReference, name string) bool {
	return isKind(owner, appsv1.GroupName, setKind) && owner.Name == name
}

func isKind(owner metav1.OwnerReference, group, kind string) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == group && owner.Kind == kind
}

// Key names an object of a release, all of which live in one namespace.
type Key struct{ Kind, Name string }

func (k Key) String() string { return k.Kind + " " + k.Name }

// KeyOf returns the key of an object.
func KeyOf(o client.Object) Key {
	return Key{o.GetObjectKind().GroupVersionKind().Kind, o.GetName()}
}

// Kind is a kind of object that a release may hold.
type Kind struct {
	Object client.Object     // empty, to read and watch the kind with
	List   client.ObjectList // empty
}

// Kinds returns every Kind. Kinds of which only the metadata is needed are read as such.
func Kinds() []Kind {
	return []Kind{
		{&appsv1.StatefulSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: setKind}}, &appsv1.StatefulSetList{}},
		{&corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: claimKind}}, &corev1.PersistentVolumeClaimList{}},
		{&networkingv1.Ingress{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}}, &networkingv1.IngressList{}},
		metadataKind(corev1.SchemeGroupVersion, "ConfigMap"),
		metadataKind(corev1.SchemeGroupVersion, "Service"),
		metadataKind(networkingv1.SchemeGroupVersion, "NetworkPolicy"),
	}
}

func metadataKind(version schema.GroupVersion, kind string) Kind {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(version.WithKind(kind + "List"))
	return Kind{metadataOf(version.WithKind(kind)), list}
}

func metadataOf(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(gvk)
	return m
}

// Index adds the index that a Client reads by to the informers of all Kinds.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range Kinds() {
		err := indexer.IndexField(ctx, kind.Object, serverIndex, func(o client.Object) []string {
			if name := o.GetLabels()[v1alpha1.ServerLabel]; name != "" {
				return []string{name}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("indexing %T: %w", kind.Object, err)
		}
	}
	return nil
}

// ConflictError means that an object of a needed name belongs to another owner. It is never touched.
type ConflictError struct{ Object string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the %s already exists and was not created for this server", e.Object)
}

// TerminatingError means that an object of a deleted server of the same name is still being collected.
type TerminatingError struct{ Object string }

func (e *TerminatingError) Error() string {
	return fmt.Sprintf("the %s of a deleted server of this name is still being deleted", e.Object)
}

// ApplyError names the object that could not be written.
type ApplyError struct {
	Object string
	Err    error
}

func (e *ApplyError) Error() string { return fmt.Sprintf("applying the %s: %v", e.Object, e.Err) }

// Unwrap returns the error of the API server.
func (e *ApplyError) Unwrap() error { return e.Err }

// Rejected reports whether the API server rejected the object for its content, so that trying again soon is of no use. A
// field that does not exist comes back as an internal error
// (apimachinery/pkg/util/managedfields/internal/structuredmerge.go), which only its text identifies.
func (e *ApplyError) Rejected() bool {
	return apierrors.IsInvalid(e.Err) || apierrors.IsBadRequest(e.Err) || apierrors.IsForbidden(e.Err) ||
		apierrors.IsInternalError(e.Err) && strings.Contains(e.Err.Error(), "failed to create typed patch object")
}

// applyError names the object of an error, which may be nil.
func applyError(o client.Object, err error) error {
	if err == nil {
		return nil
	}
	return &ApplyError{Object: KeyOf(o).String(), Err: err}
}
