// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// objectKey names an object of a release, all of which live in one namespace.
type objectKey struct{ kind, name string }

func (k objectKey) String() string { return k.kind + " " + k.name }

func keyOf(o client.Object) objectKey {
	return objectKey{o.GetObjectKind().GroupVersionKind().Kind, o.GetName()}
}

// ownedObject is what has to be known of a live object to tell whether it is still what was applied.
type ownedObject struct {
	object          client.Object
	uid             types.UID
	resourceVersion string
	owners          []metav1.OwnerReference
	applied         string // value of appliedAnnotation
	deleting        bool
	fields          ownFields
	byHelm          bool             // somebody's Helm command made or changed it
	helmRelease     client.ObjectKey // the release that it is of, of one without owner that Helm, or we, have written
}

func observed(o client.Object, gvk schema.GroupVersionKind) *ownedObject {
	identity := metadataOf(gvk)
	identity.SetNamespace(o.GetNamespace())
	identity.SetName(o.GetName())
	identity.SetUID(o.GetUID())
	return &ownedObject{
		object:          identity,
		uid:             o.GetUID(),
		resourceVersion: o.GetResourceVersion(),
		owners:          o.GetOwnerReferences(),
		applied:         appliedOf(o),
		deleting:        o.GetDeletionTimestamp() != nil,
		fields:          ownFieldsOf(o),
		byHelm:          slices.ContainsFunc(o.GetManagedFields(), isHelms),
		helmRelease:     helmReleaseOf(o),
	}
}

func (o *ownedObject) ownedBy(server *v1alpha1.JupyterServer) bool {
	return WhoseIs(server, o.owners) == Ours
}

// isOf says whether an object is the server's to change: its own, or one without owner that may be taken up.
func (o *ownedObject) isOf(server *v1alpha1.JupyterServer) bool {
	return o.ownedBy(server) || o.unowned(server)
}

// unowned says whether an object without owner may be taken up: we applied it and then let go of it, as of a claim that was retained, or
// Helm made it for this release.
func (o *ownedObject) unowned(server *v1alpha1.JupyterServer) bool {
	return len(o.owners) == 0 && o.applied != "" || o.madeByHelm(server)
}

// madeByHelm says whether somebody's `helm rollback` or `helm upgrade` made an object for the release of this server, or, with --force,
// put one in the place of ours. A claim may hold files from before there was one.
func (o *ownedObject) madeByHelm(server *v1alpha1.JupyterServer) bool {
	return server.Status.Release != nil && o.helmRelease == client.ObjectKeyFromObject(server) && keyOf(o.object).kind != claimKind
}

// olderThan says whether an object is older than a resource version that we wrote, or not there. Resource versions are
// comparable since Kubernetes 1.35 (KEP-5504), and were in practice before.
func (o *ownedObject) olderThan(version string) bool {
	if o == nil {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(o.resourceVersion, version)
	return err == nil && order < 0
}

// ownFields are the fields of a live object that server-side apply says we own (KEP-555). Whoever changes or removes a
// field takes it out of this set, so the set alone tells about drift: without the content of the object, without the
// API server's defaults, and without minding fields of others.
type ownFields struct{ raw []byte }

func ownFieldsOf(o client.Object) ownFields {
	for _, entry := range o.GetManagedFields() {
		if isOurs(entry) {
			return ownFields{[]byte(withoutOwners(entry.FieldsV1.GetRawString(), o.GetOwnerReferences()))}
		}
	}
	return ownFields{}
}

// withoutOwners has no UIDs of owners in a set of fields, which are the only part of it that differs from server to server: equal sets
// are held in memory once (metav1.FieldsV1, with the build tag fieldsv1string).
func withoutOwners(fields string, owners []metav1.OwnerReference) string {
	for _, owner := range owners {
		fields = strings.ReplaceAll(fields, string(owner.UID), "")
	}
	return fields
}

// canonical has the bytes that the API server would send to the informers: an object that was decoded into maps has lost their order.
func (f ownFields) canonical() ownFields {
	set := &fieldpath.Set{}
	if set.FromJSON(bytes.NewReader(f.raw)) != nil {
		return f
	}
	raw, err := set.ToJSON()
	if err != nil {
		return f
	}
	return ownFields{raw}
}

func isOurs(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil
}

// helmManager is the field manager of Helm's command (getManagedFieldsManager of helm.sh/helm/v3/pkg/kube/client.go).
const helmManager = "helm"

// isHelms says whether fields are of somebody's `helm rollback` or `helm upgrade`. Those that it added are not ours, so that they would
// stay beside what we apply: init containers of another revision, for instance.
func isHelms(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == helmManager && entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == ""
}

// What Helm expects on every object of a release (helm.sh/helm/v3/pkg/action/validate.go).
const (
	helmReleaseAnnotation   = "meta.helm.sh/release-name"
	helmNamespaceAnnotation = "meta.helm.sh/release-namespace"
)

// helmReleaseOf is the release of an object without owner that Helm or we have written, of the API server or of the informers. Empty: of
// none, or it is no such object.
func helmReleaseOf(o client.Object) client.ObjectKey {
	written := slices.ContainsFunc(o.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return isHelms(entry) || isOurs(entry) })
	if len(o.GetOwnerReferences()) > 0 || !written {
		return client.ObjectKey{}
	}
	kept := o.GetLabels() // by Strip
	return client.ObjectKey{
		Namespace: cmp.Or(o.GetAnnotations()[helmNamespaceAnnotation], kept[helmNamespaceAnnotation]),
		Name:      cmp.Or(o.GetAnnotations()[helmReleaseAnnotation], kept[helmReleaseAnnotation]),
	}
}

// cover says whether we still own every field of a desired object.
func (f ownFields) cover(desired *unstructured.Unstructured) bool {
	set := &fieldpath.Set{}
	if len(f.raw) == 0 || set.FromJSON(bytes.NewReader(f.raw)) != nil {
		return false
	}
	for name, v := range desired.Object {
		if name == "apiVersion" || name == "kind" {
			continue
		}
		if name == "metadata" {
			v = ownableMetadata(v)
		}
		if !coversField(set, name, v) {
			return false
		}
	}
	return true
}

// ownableMetadata leaves out what identifies an object, which nobody owns.
func ownableMetadata(v any) any {
	metadata, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for name, v := range metadata {
		switch name {
		case "name", "namespace", "uid", "resourceVersion":
		case "ownerReferences":
			out[name] = anonymous(v)
		default:
			out[name] = v
		}
	}
	return out
}

// anonymous are owner references as in withoutOwners. Whose they are is compared by ownedBy.
func anonymous(owners any) any {
	list, _ := owners.([]any)
	out := make([]any, len(list))
	for i, owner := range list {
		fields, _ := owner.(map[string]any)
		fields = maps.Clone(fields)
		fields["uid"] = ""
		out[i] = fields
	}
	return out
}

func coversField(set *fieldpath.Set, name string, v any) bool {
	if v == nil {
		return true
	}
	element := fieldpath.PathElement{FieldName: &name}
	below, ok := set.Children.Get(element)
	if !ok {
		return set.Members.Has(element) // a leaf, or owned as a whole
	}
	return covers(below, v)
}

func covers(set *fieldpath.Set, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if !coversField(set, name, child) {
				return false
			}
		}
	case []any:
		for _, item := range v {
			if !coversItem(set, item) {
				return false
			}
		}
	}
	return true
}

// coversItem finds the item of a list by its key fields, or by its value in a set.
func coversItem(set *fieldpath.Set, item any) bool {
	fields, ok := item.(map[string]any)
	if !ok {
		v := value.NewValueInterface(item)
		return set.Members.Has(fieldpath.PathElement{Value: &v})
	}
	if element, found := elementOf(&set.Children, fields); found {
		return covers(set.Children.Descend(element), item)
	}
	_, found := elementOf(&set.Members, fields) // items that are owned as a whole, such as owner references
	return found
}

// elementOf finds the element of a list whose key fields an item has. It does not range over All: that iterator panics
// when it is left early (sigs.k8s.io/structured-merge-diff/v6 v6.4.2, fieldpath/set.go).
func elementOf(elements interface {
	Iterate(func(fieldpath.PathElement))
}, item map[string]any) (out fieldpath.PathElement, found bool) {
	elements.Iterate(func(element fieldpath.PathElement) {
		if !found && element.Key != nil && hasKey(item, *element.Key) {
			out, found = element, true
		}
	})
	return out, found
}

// hasKey says whether an item has the key fields of an element, where it has them at all: those that it leaves out are
// defaulted by the API server.
func hasKey(item map[string]any, key value.FieldList) bool {
	for _, field := range key {
		v, ok := item[field.Name]
		if ok && !value.Equals(value.NewValueInterface(v), field.Value) {
			return false
		}
	}
	return true
}

// Strip is a transform of the informers: it drops from an object of a release what Observe does not look at. What is looked at of the
// annotations goes to the labels: each map takes a third of a KiB, however little is in it.
func Strip(in any) (any, error) {
	o, ok := in.(client.Object)
	if !ok {
		return in, nil
	}
	var own []metav1.ManagedFieldsEntry
	for _, entry := range o.GetManagedFields() {
		if isOurs(entry) {
			own = append(own, metav1.ManagedFieldsEntry{
				Manager:   FieldManager,
				Operation: metav1.ManagedFieldsOperationApply,
				FieldsV1:  metav1.NewFieldsV1(withoutOwners(entry.FieldsV1.GetRawString(), o.GetOwnerReferences())),
			})
		}
		if isHelms(entry) {
			own = append(own, metav1.ManagedFieldsEntry{Manager: helmManager, Operation: entry.Operation})
		}
	}
	helmRelease := helmReleaseOf(o)
	o.SetManagedFields(own)
	labels := map[string]string{}
	if name, ok := o.GetLabels()[v1alpha1.ServerLabel]; ok {
		labels[v1alpha1.ServerLabel] = name
	}
	if applied := appliedOf(o); applied != "" {
		labels[appliedAnnotation] = applied
	}
	if helmRelease.Name != "" {
		labels[helmReleaseAnnotation], labels[helmNamespaceAnnotation] = helmRelease.Name, helmRelease.Namespace
	}
	if set, ok := in.(*appsv1.StatefulSet); ok {
		if keys := ReadKeys(set); len(keys) > 0 {
			labels[readsLabel] = strings.Join(keys, ",")
		}
	}
	o.SetLabels(labels)
	o.SetAnnotations(nil)
	switch o := in.(type) {
	case *appsv1.StatefulSet:
		o.Spec = appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, UpdateStrategy: o.Spec.UpdateStrategy}
	case *corev1.PersistentVolumeClaim:
		o.Spec = corev1.PersistentVolumeClaimSpec{VolumeName: o.Spec.VolumeName, StorageClassName: o.Spec.StorageClassName, Resources: o.Spec.Resources}
	case *networkingv1.Ingress:
		o.Spec = networkingv1.IngressSpec{Rules: o.Spec.Rules}
	}
	return in, nil
}

// appliedOf is the digest of what was applied, of an object of the API server or of the informers.
func appliedOf(o client.Object) string {
	return cmp.Or(o.GetAnnotations()[appliedAnnotation], o.GetLabels()[appliedAnnotation])
}

// listOf is an empty list of a kind.
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

func eachOwned(list client.ObjectList, visit func(client.Object)) error {
	return meta.EachListItem(list, func(o runtime.Object) error {
		object, ok := o.(client.Object)
		if !ok {
			return errors.New("a list item is no object")
		}
		visit(object)
		return nil
	})
}
