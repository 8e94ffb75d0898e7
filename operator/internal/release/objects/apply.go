// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// noVersion is a resource version that no object has. An apply with it creates an object that is missing and conflicts with one
// that exists: the API server checks the version only against existing objects (registry/generic/registry/store.go). So one
// request creates an object without ever taking over another owner's.
const noVersion = "1"

// beforeFirstApply is the manager that the API server invents for an object whose managers were erased
// (apimachinery/pkg/util/managedfields/internal/skipnonapplied.go).
const beforeFirstApply = "before-first-apply"

// Done is an object that Apply wrote.
type Done struct {
	Key  Key
	Hash string // a digest of what was applied; empty for an object that was pruned or released
}

// Apply applies what differs, prunes what is no longer desired, and releases a claim to retain. It returns what was written, also
// on an error; nothing of that is undone. Its errors are *ConflictError, *TerminatingError, *ApplyError, or those of reading.
func (c *Client) Apply(ctx context.Context, ref Ref, memo *Memo, diff Diff) (done []Done, err error) {
	isSet := func(change Change) bool { return change.Object.GetKind() == setKind }
	isOther := func(change Change) bool { return !isSet(change) }
	for _, later := range []func(Change) bool{isSet, isOther} { // the pod comes last: it would wait, with a growing delay, for what it mounts
		changes := slices.DeleteFunc(slices.Clone(diff.Apply), later)
		answers, err := together(memo, changes, func(change Change) (*unstructured.Unstructured, error) { return c.apply(ctx, ref, change) })
		for i, object := range answers {
			if object != nil {
				written := liveOf(object, object.GroupVersionKind())
				written.fields, written.sent = written.fields.canonical(), changes[i].Hash
				memo.expect(write{live: written, at: c.clock.Now()})
				done = append(done, Done{KeyOf(object), changes[i].Hash})
			}
		}
		if err != nil {
			return done, err
		}
	}
	for _, object := range diff.Prune {
		if err := c.prune(ctx, memo, object); err != nil {
			return done, err
		}
		done = append(done, Done{Key: KeyOf(object)})
	}
	if diff.Release == nil {
		return done, nil
	}
	if err := c.release(ctx, ref, memo, diff.Release); err != nil {
		return done, err
	}
	return append(done, Done{Key: KeyOf(diff.Release)}), nil
}

// DryRun sends every object that differs as a dry run, so that the rejection of one changes none.
func (c *Client) DryRun(ctx context.Context, ref Ref, memo *Memo, diff Diff) error {
	_, err := together(memo, diff.Apply, func(change Change) (*unstructured.Unstructured, error) {
		return c.send(ctx, ref, change, client.DryRunAll)
	})
	return err
}

// together sends all changes at the same time and returns the answers, nil where one failed, and the first error. Other requests
// are not cancelled: the outcome of a cancelled request is unknown. A failed one may have proved the expectations wrong.
func together(memo *Memo, changes []Change, send func(Change) (*unstructured.Unstructured, error)) ([]*unstructured.Unstructured, error) {
	answers, errs := make([]*unstructured.Unstructured, len(changes)), make([]error, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		all.Go(func() {
			if answers[i], errs[i] = send(change); errs[i] != nil {
				answers[i] = nil
			}
		})
	}
	all.Wait()
	err := cmp.Or(errs...)
	for _, change := range changes {
		if err != nil {
			memo.met(KeyOf(change.Object))
		}
	}
	return answers, err
}

// Undo deletes what an Apply created before it failed. It is best effort: what stays is the server's own, and the next Apply
// adopts it. Claims always stay: the operator has no right to delete them, so that no fault of it can cost files.
func (c *Client) Undo(ctx context.Context, memo *Memo, diff Diff) {
	for _, change := range diff.Apply {
		created, ok := memo.writes[KeyOf(change.Object)]
		if change.live == nil && ok && !created.pruned && change.Object.GetKind() != claimKind {
			_ = c.prune(ctx, memo, created.object)
		}
	}
}

// ScaleToZero stops the pod of a StatefulSet and leaves everything else as it is.
func (c *Client) ScaleToZero(ctx context.Context, set *appsv1.StatefulSet) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"replicas":0}}`, set.UID))
	if err := c.client.Patch(ctx, set.DeepCopy(), patch, client.FieldOwner(FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("scaling the StatefulSet to zero: %w", err)
	}
	return nil
}

// apply sends one object and leaves the operator as the only manager of what it applied: neither the manager that the API server
// invents nor Helm, whose fields would stay when they are no longer applied. What Helm set is taken over and applied again, which
// removes it if it is not desired; any manager may have set what the invented one has.
func (c *Client) apply(ctx context.Context, ref Ref, change Change) (*unstructured.Unstructured, error) {
	object, err := c.send(ctx, ref, change)
	if err != nil {
		return nil, err
	}
	byHelm := slices.ContainsFunc(object.GetManagedFields(), isHelms)
	managed := slices.Clone(object.GetManagedFields())
	others := slices.DeleteFunc(managed, func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == beforeFirstApply })
	if !byHelm && len(others) == len(object.GetManagedFields()) {
		return object, nil
	}
	object.SetManagedFields(others)
	if err := csaupgrade.UpgradeManagedFields(object, sets.New(helmManager), FieldManager); err != nil {
		return nil, fmt.Errorf("taking the fields of %s from Helm: %w", KeyOf(object), err)
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()}, // unlike a failed test, a conflict
		{"op": "replace", "path": "/metadata/managedFields", "value": object.GetManagedFields()},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the managers of %s: %w", KeyOf(object), err)
	}
	if err := c.client.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch)); err != nil || !byHelm {
		return object, applyError(object, err)
	}
	change.live = &live{uid: object.GetUID()}
	return c.send(ctx, ref, change)
}

// send applies one object: as new, or to the object that was seen and never to one that took its place. One that is in the way of a
// new one is read, and applied to if it may be changed.
func (c *Client) send(ctx context.Context, ref Ref, change Change, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	object := change.Object.DeepCopy()
	if change.live == nil {
		object.SetResourceVersion(noVersion)
	} else {
		object.SetUID(change.live.uid)
	}
	err := c.request(ctx, object, options)
	if !apierrors.IsConflict(err) {
		return object, err
	}
	key, gvk := KeyOf(object), object.GroupVersionKind()
	found := metadataOf(gvk)
	if err := c.live.Get(ctx, client.ObjectKeyFromObject(object), found); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	there := liveOf(found, gvk)
	switch {
	case ref.Ownership(there.owners) == Predecessors, there.deleting:
		return nil, &TerminatingError{Object: key.String()}
	case !there.mayChange(ref):
		return nil, &ConflictError{Object: key.String()}
	}
	object = change.Object.DeepCopy()
	object.SetUID(there.uid)
	return object, c.request(ctx, object, options)
}

func (c *Client) request(ctx context.Context, object *unstructured.Unstructured, options []client.ApplyOption) error {
	options = append([]client.ApplyOption{client.FieldOwner(FieldManager), client.ForceOwnership}, options...)
	err := c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...)
	if apierrors.IsConflict(err) {
		return err
	}
	return applyError(object, err)
}

// prune deletes an object if it is still the one that was seen.
func (c *Client) prune(ctx context.Context, memo *Memo, object client.Object) error {
	uid := object.GetUID()
	err := c.client.Delete(ctx, object, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return applyError(object, err)
	}
	memo.expect(write{live: &live{object: object, uid: uid}, pruned: true, at: c.clock.Now()})
	return nil
}

// release removes the owner from a claim, so that the claim stays when the server is deleted.
func (c *Client) release(ctx context.Context, ref Ref, memo *Memo, claim client.Object) error {
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"ownerReferences":[{"$patch":"delete","uid":%q}]}}`, claim.GetUID(), ref.UID)
	err := c.client.Patch(ctx, claim, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(FieldManager))
	if err == nil {
		memo.expect(write{live: liveOf(claim, claim.GetObjectKind().GroupVersionKind()), at: c.clock.Now()})
	}
	return applyError(claim, client.IgnoreNotFound(err))
}

// Source is where the changes to an object come from, as far as metadata.managedFields shows.
type Source struct {
	Deleted  bool     // the object is deleted; the API server does not record by whom
	Managers []string // the field managers that took over fields; none: fields are removed, which leaves no name
	Fields   []string // the paths of these fields
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
	return sourceOf(change.Object, found)
}

// sourceOf finds the managers of fields of a desired object that the operator does not own.
func sourceOf(desired *unstructured.Unstructured, found client.Object) (*Source, error) {
	typed, err := applyconfigurations.NewTypeConverter(scheme.Scheme).ObjectToTyped(desired)
	if err != nil {
		return nil, fmt.Errorf("finding the fields of %s: %w", KeyOf(desired), err)
	}
	lost, err := typed.ToFieldSet()
	if err != nil {
		return nil, fmt.Errorf("finding the fields of %s: %w", KeyOf(desired), err)
	}
	owned := func(entry metav1.ManagedFieldsEntry) *fieldpath.Set {
		set := &fieldpath.Set{}
		if entry.FieldsV1 == nil || set.FromJSON(entry.FieldsV1.GetRawReader()) != nil {
			return &fieldpath.Set{}
		}
		return set
	}
	managed := found.GetManagedFields()
	for _, entry := range managed {
		if isOurs(entry) {
			lost = lost.Difference(owned(entry))
		}
	}
	managers, taken := sets.New[string](), sets.New[string]()
	for _, entry := range managed {
		owned(entry).Intersection(lost).Leaves().Iterate(func(path fieldpath.Path) {
			managers.Insert(entry.Manager)
			taken.Insert(strings.TrimPrefix(path.String(), "."))
		})
	}
	return &Source{Managers: sets.List(managers), Fields: sets.List(taken), Admission: fieldsOf(found).cover(desired)}, nil
}
