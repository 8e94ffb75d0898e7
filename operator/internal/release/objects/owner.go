// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// FieldManager is the field manager of everything that the operator applies.
const FieldManager = "jupyter-server-operator"

// Ref identifies a release and the JupyterServer that owns it.
type Ref struct {
	Namespace, Name string
	// UID is that of the JupyterServer.
	UID types.UID
	// Installed reports whether the server was released before, so that orphans of the release are its own.
	Installed bool
	// Retain reports whether the claim outlives the server.
	Retain bool
	// Stop scales the StatefulSet to zero, whatever it was rendered with.
	Stop bool
}

// Owner returns the owner reference that has the garbage collector delete an object with its server, also while the
// operator is down.
func (r Ref) Owner() metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind, Name: r.Name, UID: r.UID,
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}
}

// Ownership is whose an object is, by its owner references.
type Ownership string

const (
	// Orphan has no owner.
	Orphan Ownership = "Orphan"
	// Own belongs to the server.
	Own Ownership = "Own"
	// Predecessors belongs to a deleted server of the same name and is about to be collected.
	Predecessors Ownership = "Predecessors"
	// Foreign belongs to another owner.
	Foreign Ownership = "Foreign"
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
	return liveOf(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")).mayChange(r)
}

// IsServer reports whether an owner is a JupyterServer of this API group, of whatever version.
func IsServer(owner metav1.OwnerReference) bool {
	return isKind(owner, v1alpha1.GroupVersion.Group, v1alpha1.Kind)
}

// IsSet reports whether an owner is a StatefulSet of a name.
func IsSet(owner metav1.OwnerReference, name string) bool {
	return isKind(owner, appsv1.GroupName, "StatefulSet") && owner.Name == name
}

func isKind(owner metav1.OwnerReference, group, kind string) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == group && owner.Kind == kind
}
