// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// Whose says whose an object is, by its owners.
type Whose string

const (
	// Nobodys is without any owner.
	Nobodys Whose = "Nobodys"
	// Ours belongs to the server.
	Ours Whose = "Ours"
	// Namesakes belongs to an earlier server of the same name, and is about to be collected.
	Namesakes Whose = "Namesakes"
	// Somebodys belongs to somebody else.
	Somebodys Whose = "Somebodys"
)

// WhoseIs says whose the object with these owners is, as a server sees it.
func WhoseIs(server *v1alpha1.JupyterServer, owners []metav1.OwnerReference) Whose {
	is := func(owner metav1.OwnerReference) bool { return owner.UID == server.UID }
	was := func(owner metav1.OwnerReference) bool { return IsServer(owner) && owner.Name == server.Name }
	switch {
	case len(owners) == 0:
		return Nobodys
	case slices.ContainsFunc(owners, is):
		return Ours
	case slices.ContainsFunc(owners, was):
		return Namesakes
	}
	return Somebodys
}

// IsServer says whether an owner is a JupyterServer: one of ours, and not of another project that has a kind of this name.
func IsServer(owner metav1.OwnerReference) bool {
	return isKind(owner, v1alpha1.GroupVersion.Group, v1alpha1.Kind)
}

// IsSet says whether an owner is a StatefulSet with the name of a server: Kubernetes' own, and not one of a project that has a kind of
// this name.
func IsSet(server *v1alpha1.JupyterServer, owner metav1.OwnerReference) bool {
	return isKind(owner, appsv1.GroupName, "StatefulSet") && owner.Name == server.Name
}

func isKind(owner metav1.OwnerReference, group, kind string) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == group && owner.Kind == kind
}

// IsOwnSet says whether a StatefulSet of the informers is the server's, which it also is while somebody has taken the owner from it.
func IsOwnSet(server *v1alpha1.JupyterServer, set *appsv1.StatefulSet) bool {
	return observed(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")).isOf(server)
}
