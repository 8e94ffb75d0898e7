// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

const (
	// appliedAnnotation holds a digest of what was applied, so that an unchanged object is recognised without its content.
	appliedAnnotation = "jupyterserver.dev/applied"
	// readsLabel is on StatefulSets in the informers only: the keys of the credentials Secret that their pods read.
	readsLabel = "jupyterserver.dev/reads"

	// Annotations that Helm expects on every object of a release (helm.sh/helm/v3/pkg/action/validate.go).
	helmReleaseAnnotation   = "meta.helm.sh/release-name"
	helmNamespaceAnnotation = "meta.helm.sh/release-namespace"

	// helmManager is the field manager of the helm command (getManagedFieldsManager of helm.sh/helm/v3/pkg/kube/client.go).
	helmManager = "helm"
)

// AllKeys stands for every key of a Secret that a pod reads as a whole.
const AllKeys = "*"

// live is what is known of an object in the cluster: enough to tell whether it still is what was applied.
type live struct {
	object          client.Object // its identity
	uid             types.UID
	resourceVersion string
	owners          []metav1.OwnerReference
	applied         string // value of appliedAnnotation
	sent            string // what it was to be, while the informers lag behind the answer that this was made of
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

// mayChange reports whether the operator may change an object: it is the server's own, a retained claim of the operator's, or
// Helm created it for the release.
func (l *live) mayChange(ref Ref) bool {
	return l.isOwn(ref) || len(l.owners) == 0 && l.applied != "" || l.isHelms(ref)
}

// isHelms reports whether `helm rollback` or `helm upgrade` created an object for the release, or replaced ours with --force.
// Claims never count: one may hold files from before the server existed.
func (l *live) isHelms(ref Ref) bool {
	return ref.Installed && l.helmRelease == client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name} && KeyOf(l.object).Kind != claimKind
}

// wasEdited reports whether a field of what was applied was changed or removed, or Helm changed any.
func (l *live) wasEdited(applied *unstructured.Unstructured) bool {
	hasOwner := func(owner metav1.OwnerReference) bool {
		return slices.ContainsFunc(l.owners, func(o metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(o, owner) })
	}
	for _, owner := range applied.GetOwnerReferences() {
		if !hasOwner(owner) {
			return true
		}
	}
	return l.byHelm || !l.fields.cover(applied)
}

// isAltered reports whether admission changed what was sent, so that the informers have to show the object first.
func (l *live) isAltered() bool { return l.sent != "" && l.sent != l.applied }

// mark digests what changes when an object is deleted, replaced or edited: its UID, what was applied, and the fields that the
// operator owns. Changes to fields of other managers do not show.
type mark [16]byte

func (l *live) mark() mark {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %t %s", l.uid, l.applied, l.byHelm, l.fields))
	return mark(sum[:16])
}

// fields is the set of fields that the operator owns of a live object, by server-side apply (KEP-555), but for its owners. Another
// manager that changes or removes a field takes it out of the set. So the set alone shows drift: without the content of the
// object, without defaults, and regardless of fields that other managers own.
type fields string

func fieldsOf(o client.Object) fields {
	for _, entry := range o.GetManagedFields() {
		if isOurs(entry) {
			return withoutOwners(entry, o.GetOwnerReferences())
		}
	}
	return ""
}

// withoutOwners strips owner UIDs from a set of fields. Equal sets of different servers then share memory (metav1.FieldsV1
// with the build tag fieldsv1string).
func withoutOwners(entry metav1.ManagedFieldsEntry, owners []metav1.OwnerReference) fields {
	set := entry.FieldsV1.GetRawString()
	for _, owner := range owners {
		set = strings.ReplaceAll(set, string(owner.UID), "")
	}
	return fields(set)
}

// canonical returns the set as the API server sends it to informers. An object that was decoded into maps has lost its order.
func (f fields) canonical() fields {
	set := &fieldpath.Set{}
	if set.FromJSON(strings.NewReader(string(f))) != nil {
		return f
	}
	raw, err := set.ToJSON()
	if err != nil {
		return f
	}
	return fields(raw)
}

func isOurs(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil
}

// isHelms reports whether fields were set by `helm rollback` or `helm upgrade`. Those that Helm added, such as init containers
// of another revision, would stay beside what the operator applies.
func isHelms(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == helmManager && entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == ""
}

// cover reports whether the operator still owns every field of what was applied. It needs no schema, which the API server of
// another version has another one of.
func (f fields) cover(applied *unstructured.Unstructured) bool {
	set := &fieldpath.Set{}
	if f == "" || set.FromJSON(strings.NewReader(string(f))) != nil {
		return false
	}
	object := maps.Clone(applied.Object)
	metadata, _ := object["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	for _, name := range []string{"name", "namespace", "uid", "resourceVersion", "ownerReferences"} {
		delete(metadata, name)
	}
	object["metadata"] = metadata
	delete(object, "apiVersion") // no manager owns what identifies an object
	delete(object, "kind")
	return covers(set, object)
}

func covers(set *fieldpath.Set, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if child != nil && !coversAt(set, fieldpath.PathElement{FieldName: &name}, child) {
				return false
			}
		}
	case []any:
		for _, item := range v {
			if !coversAt(set, elementOf(set, item), item) {
				return false
			}
		}
	}
	return true
}

func coversAt(set *fieldpath.Set, at fieldpath.PathElement, v any) bool {
	if below, ok := set.Children.Get(at); ok {
		return covers(below, v)
	}
	return set.Members.Has(at) // a leaf, or owned as a whole
}

// elementOf finds an item of a list in a set of fields: by its key fields, or by its value. Key fields that the item leaves out are
// defaulted by the API server, so they match.
func elementOf(set *fieldpath.Set, item any) (found fieldpath.PathElement) {
	v := value.NewValueInterface(item)
	fields, ok := item.(map[string]any)
	if !ok {
		return fieldpath.PathElement{Value: &v}
	}
	isOther := func(key value.Field) bool {
		v, ok := fields[key.Name]
		return ok && !value.Equals(value.NewValueInterface(v), key.Value)
	}
	match := func(element fieldpath.PathElement) { // All panics when it is left early (structured-merge-diff/v6 v6.4.2, fieldpath/set.go)
		if found.Key == nil && element.Key != nil && !slices.ContainsFunc(*element.Key, isOther) {
			found = element
		}
	}
	set.Children.Iterate(match)
	set.Members.Iterate(match) // items that are owned as a whole
	return found
}

// Strip is a transform of the informers that drops what Diff does not look at. Annotations that are needed move to the labels:
// each map takes a third of a KiB, however little it holds. Informers may transform an object twice (client-go/tools/cache,
// TransformFunc), so what Strip keeps has to be found in a stripped object, too.
func Strip(in any) (any, error) {
	o, ok := in.(client.Object)
	if !ok {
		return in, nil
	}
	labels := strippedLabels(o)
	o.SetManagedFields(strippedFields(o))
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

func strippedFields(o client.Object) []metav1.ManagedFieldsEntry {
	var kept []metav1.ManagedFieldsEntry
	for _, entry := range o.GetManagedFields() {
		switch {
		case isOurs(entry):
			set := metav1.NewFieldsV1(string(withoutOwners(entry, o.GetOwnerReferences())))
			kept = append(kept, metav1.ManagedFieldsEntry{Manager: FieldManager, Operation: entry.Operation, FieldsV1: set})
		case isHelms(entry):
			kept = append(kept, metav1.ManagedFieldsEntry{Manager: helmManager, Operation: entry.Operation})
		}
	}
	return kept
}

func strippedLabels(o client.Object) map[string]string {
	release := helmReleaseOf(o)
	labels := map[string]string{
		v1alpha1.ServerLabel:    o.GetLabels()[v1alpha1.ServerLabel],
		appliedAnnotation:       appliedOf(o),
		helmReleaseAnnotation:   release.Name,
		helmNamespaceAnnotation: release.Namespace,
	}
	if set, ok := o.(*appsv1.StatefulSet); ok {
		labels[readsLabel] = strings.Join(ReadKeys(set), ",")
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	return labels
}

// ReadKeys returns the keys of the credentials Secret that the pods of a StatefulSet read, sorted. It takes a whole
// StatefulSet or a stripped one.
func ReadKeys(set *appsv1.StatefulSet) []string {
	pod := set.Spec.Template.Spec
	if len(pod.Containers) == 0 {
		return strings.FieldsFunc(set.Labels[readsLabel], func(r rune) bool { return r == ',' })
	}
	var keys []string
	reads := func(secret, key string, _ bool) {
		if secret == render.SecretName(set.Name) {
			keys = append(keys, key)
		}
	}
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		EnvironmentSecrets(container, reads)
	}
	for _, volume := range pod.Volumes {
		if volume.Secret != nil {
			projectedKeys(volume.Secret.SecretName, volume.Secret.Items, reads)
		}
		for _, source := range ptr.Deref(volume.Projected, corev1.ProjectedVolumeSource{}).Sources {
			if source.Secret != nil {
				projectedKeys(source.Secret.Name, source.Secret.Items, reads)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// EnvironmentSecrets visits the keys of Secrets that a container has in its environment.
func EnvironmentSecrets(container corev1.Container, visit func(secret, key string, optional bool)) {
	for _, env := range container.Env {
		if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil {
			visit(from.SecretKeyRef.Name, from.SecretKeyRef.Key, ptr.Deref(from.SecretKeyRef.Optional, false))
		}
	}
	for _, from := range container.EnvFrom {
		if from.SecretRef != nil {
			visit(from.SecretRef.Name, AllKeys, ptr.Deref(from.SecretRef.Optional, false))
		}
	}
}

// projectedKeys visits the keys of a Secret that a volume projects: all without items.
func projectedKeys(secret string, items []corev1.KeyToPath, visit func(secret, key string, optional bool)) {
	if len(items) == 0 {
		visit(secret, AllKeys, false)
	}
	for _, item := range items {
		visit(secret, item.Key, false)
	}
}
