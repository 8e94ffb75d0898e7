// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// appliedAnnotation holds a digest of what was applied, so that an unchanged object is recognised without its content.
const appliedAnnotation = "jupyterserver.dev/applied"

// Annotations that Helm expects on every object of a release (helm.sh/helm/v3/pkg/action/validate.go).
const (
	helmReleaseAnnotation   = "meta.helm.sh/release-name"
	helmNamespaceAnnotation = "meta.helm.sh/release-namespace"
)

// live is what is known of an object in the cluster: enough to tell whether it still is what was applied.
type live struct {
	object          client.Object // its identity
	uid             types.UID
	resourceVersion string
	owners          []metav1.OwnerReference
	applied         string // value of appliedAnnotation
	deleting        bool
	fields          fields
	byHelm          bool             // a Helm command created or changed it
	helmRelease     client.ObjectKey // the release of an orphan that Helm or the operator wrote
}

func liveOf(o client.Object, gvk schema.GroupVersionKind) *live {
	identity := metadataOf(gvk)
	identity.SetNamespace(o.GetNamespace())
	identity.SetName(o.GetName())
	identity.SetUID(o.GetUID())
	return &live{
		object:          identity,
		uid:             o.GetUID(),
		resourceVersion: o.GetResourceVersion(),
		owners:          o.GetOwnerReferences(),
		applied:         appliedOf(o),
		deleting:        o.GetDeletionTimestamp() != nil,
		fields:          fieldsOf(o),
		byHelm:          slices.ContainsFunc(o.GetManagedFields(), isHelms),
		helmRelease:     helmReleaseOf(o),
	}
}

// appliedOf reads the digest from the annotations, or from the labels where Strip has put it.
func appliedOf(o client.Object) string {
	return cmp.Or(o.GetAnnotations()[appliedAnnotation], o.GetLabels()[appliedAnnotation])
}

// helmReleaseOf returns the release that an orphan names, if Helm or the operator wrote it. It is zero for other objects.
func helmReleaseOf(o client.Object) client.ObjectKey {
	written := slices.ContainsFunc(o.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return isHelms(entry) || isOurs(entry) })
	if len(o.GetOwnerReferences()) > 0 || !written {
		return client.ObjectKey{}
	}
	stripped := o.GetLabels()
	return client.ObjectKey{
		Namespace: cmp.Or(o.GetAnnotations()[helmNamespaceAnnotation], stripped[helmNamespaceAnnotation]),
		Name:      cmp.Or(o.GetAnnotations()[helmReleaseAnnotation], stripped[helmReleaseAnnotation]),
	}
}

func (l *live) isOwn(ref Ref) bool { return ref.Ownership(l.owners) == Own }

// mayChange reports whether the operator may change an object: it is the server's own, or an orphan that may be adopted.
func (l *live) mayChange(ref Ref) bool { return l.isOwn(ref) || l.isAdoptable(ref) }

// isAdoptable reports whether an orphan may be adopted: a retained claim of ours, or an object that Helm created for the
// release.
func (l *live) isAdoptable(ref Ref) bool {
	return len(l.owners) == 0 && l.applied != "" || l.isHelms(ref)
}

// isHelms reports whether `helm rollback` or `helm upgrade` created an object for the release, or replaced ours with --force.
// Claims never count: one may hold files from before the server existed.
func (l *live) isHelms(ref Ref) bool {
	return ref.Installed && l.helmRelease == client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name} && KeyOf(l.object).Kind != claimKind
}

// olderThan reports whether an object is missing, or older than a resource version that the operator wrote. Resource versions
// are comparable since Kubernetes 1.35 (KEP-5504), and were in practice before.
func (l *live) olderThan(version string) bool {
	if l == nil {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(l.resourceVersion, version)
	return err == nil && order < 0
}

// mark digests what changes when an object is deleted, replaced or edited: its UID, what was applied, and the fields that the
// operator owns. Changes to fields of other managers do not show.
type mark [16]byte

func (l *live) mark() mark {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s %t ", l.uid, l.applied, l.byHelm)
	sum.Write(l.fields.raw)
	return mark(sum.Sum(nil)[:16])
}
