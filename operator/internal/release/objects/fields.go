// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// fields is the set of fields that the operator owns of a live object, by server-side apply (KEP-555). Another manager that
// changes or removes a field takes it out of the set. So the set alone shows drift: without the content of the object,
// without defaults, and regardless of fields that other managers own.
type fields struct{ raw []byte }

func fieldsOf(o client.Object) fields {
	for _, entry := range o.GetManagedFields() {
		if isOurs(entry) {
			return fields{[]byte(withoutOwners(entry.FieldsV1.GetRawString(), o.GetOwnerReferences()))}
		}
	}
	return fields{}
}

// withoutOwners strips owner UIDs from a set of fields. Equal sets of different servers then share memory (metav1.FieldsV1
// with the build tag fieldsv1string).
func withoutOwners(set string, owners []metav1.OwnerReference) string {
	for _, owner := range owners {
		set = strings.ReplaceAll(set, string(owner.UID), "")
	}
	return set
}

// canonical returns the bytes that the API server sends to informers. An object that was decoded into maps has lost their
// order.
func (f fields) canonical() fields {
	set := &fieldpath.Set{}
	if set.FromJSON(bytes.NewReader(f.raw)) != nil {
		return f
	}
	raw, err := set.ToJSON()
	if err != nil {
		return f
	}
	return fields{raw}
}

func isOurs(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil
}

// helmManager is the field manager of the helm command (getManagedFieldsManager of helm.sh/helm/v3/pkg/kube/client.go).
const helmManager = "helm"

// isHelms reports whether fields were set by `helm rollback` or `helm upgrade`. Those that Helm added, such as init containers
// of another revision, would stay beside what the operator applies.
func isHelms(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == helmManager && entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == ""
}

// cover reports whether the operator still owns every field of a desired object.
func (f fields) cover(desired *unstructured.Unstructured) bool {
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

// ownableMetadata leaves out what identifies an object, which no manager owns.
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

// anonymous strips UIDs from owner references, as withoutOwners does. The owners themselves are compared by isOwn.
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

// coversItem finds an item of a list by its key fields, or in a set by its value.
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

// elementOf finds the element of a list that has the key fields of an item. It does not range over All, whose iterator panics
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

// hasKey reports whether an item has the key fields of an element. Key fields that the item leaves out are defaulted by the
// API server, so they match.
func hasKey(item map[string]any, key value.FieldList) bool {
	for _, field := range key {
		v, ok := item[field.Name]
		if ok && !value.Equals(value.NewValueInterface(v), field.Value) {
			return false
		}
	}
	return true
}
