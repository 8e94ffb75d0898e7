// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Source is where the changes to an object come from, as far as metadata.managedFields shows.
type Source struct {
	// Deleted reports whether the object is deleted. The API server does not record by whom.
	Deleted bool
	// Managers are the field managers that took over fields. None: fields are removed, which leaves no name.
	Managers []string
	// Fields are the paths of these fields.
	Fields []string
	// Admission reports whether the operator owns every field and the object differs nevertheless: admission changes what is
	// sent, in the same request, which takes over no field (apiserver/pkg/endpoints/handlers/patch.go applies, then admits).
	Admission bool
}

// SourceOf finds out, with one read, where a change comes from.
func (c *Client) SourceOf(ctx context.Context, change Change) (*Source, error) {
	found := metadataOf(change.Object.GroupVersionKind())
	err := c.live.Get(ctx, client.ObjectKeyFromObject(change.Object), found)
	if apierrors.IsNotFound(err) {
		return &Source{Deleted: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", KeyOf(change.Object), err)
	}
	return sourceOf(change.Object, found), nil
}

// sourceOf finds the managers of fields of a desired object that the operator does not own.
func sourceOf(desired *unstructured.Unstructured, found client.Object) *Source {
	managed, ours := found.GetManagedFields(), &fieldpath.Set{}
	if i := slices.IndexFunc(managed, isOurs); i >= 0 && ours.FromJSON(managed[i].FieldsV1.GetRawReader()) != nil {
		ours = &fieldpath.Set{}
	}
	source := &Source{Admission: fieldsOf(found).cover(desired)}
	for _, entry := range managed {
		theirs := &fieldpath.Set{}
		if isOurs(entry) || entry.FieldsV1 == nil || theirs.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) != nil {
			continue
		}
		if taken := takenFrom(desired, theirs, ours); len(taken) > 0 {
			source.Managers = append(source.Managers, entry.Manager)
			source.Fields = append(source.Fields, taken...)
		}
	}
	slices.Sort(source.Managers)
	slices.Sort(source.Fields)
	source.Managers, source.Fields = slices.Compact(source.Managers), slices.Compact(source.Fields)
	return source
}

// takenFrom returns the paths of the fields of a desired object that are theirs and not ours.
func takenFrom(desired *unstructured.Unstructured, theirs, ours *fieldpath.Set) []string {
	var taken []string
	theirs.Leaves().Iterate(func(path fieldpath.Path) {
		if !ours.Has(path) && hasPath(desired.Object, path) {
			taken = append(taken, strings.TrimPrefix(path.String(), "."))
		}
	})
	return taken
}

// hasPath reports whether there is a value at a path.
func hasPath(v any, path fieldpath.Path) bool {
	for _, element := range path {
		found := false
		switch {
		case element.FieldName != nil:
			fields, _ := v.(map[string]any)
			v, found = fields[*element.FieldName]
		case element.Key != nil:
			v, found = itemOf(v, func(item any) bool {
				fields, isMap := item.(map[string]any)
				return isMap && hasKey(fields, *element.Key)
			})
		case element.Value != nil:
			v, found = itemOf(v, func(item any) bool { return value.Equals(value.NewValueInterface(item), *element.Value) })
		}
		if !found {
			return false
		}
	}
	return true
}

func itemOf(list any, wanted func(any) bool) (any, bool) {
	items, _ := list.([]any)
	i := slices.IndexFunc(items, wanted)
	if i < 0 {
		return nil, false
	}
	return items[i], true
}
