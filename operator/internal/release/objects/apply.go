// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// noVersion is a resource version that no object has. An apply with it creates an object that is missing and conflicts with one
// that exists: the API server checks the version only against existing objects (registry/generic/registry/store.go). So one
// request creates an object without ever taking over another owner's.
const noVersion = "1"

// Done is an object that Apply wrote.
type Done struct {
	Key Key
	// Hash is a digest of what was applied. It is empty for an object that was pruned or released.
	Hash string
}

// Apply applies what differs, prunes what is no longer desired, and releases a claim to retain. It returns what was written, also
// on an error; nothing of that is undone. Its errors are *ConflictError, *TerminatingError, *ApplyError, or those of reading.
func (c *Client) Apply(ctx context.Context, ref Ref, memo *Memo, diff Diff) ([]Done, error) {
	var first, pods []Change
	for _, change := range diff.Apply {
		if change.Object.GetKind() == setKind {
			pods = append(pods, change) // last: a pod would wait, with a growing delay, for what it mounts
			continue
		}
		first = append(first, change)
	}
	var done []Done
	for _, changes := range [][]Change{first, pods} {
		written, err := c.applyAll(ctx, ref, memo, changes)
		done = append(done, written...)
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
	_, err := together(diff.Apply, func(change Change) (answer, error) {
		object, err := c.send(ctx, ref, change, client.DryRunAll)
		return answer{object: object}, err
	})
	c.forgetConflicts(memo, diff.Apply, err)
	return err
}

// Undo deletes what an Apply created before it failed. It is best effort: what stays is the server's own, and the next Apply
// adopts it. Claims always stay: the operator has no right to delete them, so that no fault of it can cost files.
func (c *Client) Undo(ctx context.Context, memo *Memo, diff Diff) {
	for _, change := range diff.Apply {
		created, ok := memo.writes[KeyOf(change.Object)]
		if change.live != nil || !ok || created.pruned || change.Object.GetKind() == claimKind {
			continue
		}
		object := metadataOf(change.Object.GroupVersionKind())
		object.SetNamespace(change.Object.GetNamespace())
		object.SetName(change.Object.GetName())
		object.SetUID(created.uid)
		_ = c.prune(ctx, memo, object)
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

// answer is an object as the API server returned it.
type answer struct {
	change Change
	object *unstructured.Unstructured
	err    error
}

// together sends all changes at the same time and returns all answers, and the first error. Other requests are not cancelled:
// the outcome of a cancelled request is unknown.
func together(changes []Change, send func(Change) (answer, error)) ([]answer, error) {
	answers := make([]answer, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		all.Go(func() {
			answers[i], answers[i].err = send(change)
			answers[i].change = change
		})
	}
	all.Wait()
	var first error
	for _, a := range answers {
		first = cmp.Or(first, a.err)
	}
	return answers, first
}

func (c *Client) applyAll(ctx context.Context, ref Ref, memo *Memo, changes []Change) ([]Done, error) {
	answers, err := together(changes, func(change Change) (answer, error) { return c.apply(ctx, ref, change) })
	c.forgetConflicts(memo, changes, err)
	var done []Done
	for _, a := range answers {
		if a.err != nil {
			continue
		}
		key := KeyOf(a.change.Object)
		c.wrote(memo, liveOf(a.object, a.object.GroupVersionKind()), a.change.Hash, true)
		done = append(done, Done{key, a.change.Hash})
	}
	return done, err
}

// forgetConflicts drops expectations that a failed request may have proved wrong.
func (c *Client) forgetConflicts(memo *Memo, changes []Change, err error) {
	if err == nil {
		return
	}
	for _, change := range changes {
		memo.met(KeyOf(change.Object))
	}
}

// apply sends one object and cleans up the managers of its fields.
func (c *Client) apply(ctx context.Context, ref Ref, change Change) (answer, error) {
	object, err := c.send(ctx, ref, change)
	if err != nil {
		return answer{}, err
	}
	if err := c.ownAlone(ctx, object); err != nil {
		return answer{}, err
	}
	object, err = c.takeFromHelm(ctx, ref, change, object)
	return answer{object: object}, err
}

// wrote remembers the answer to a write.
func (c *Client) wrote(memo *Memo, written *live, hash string, decoded bool) {
	if decoded {
		written.fields = written.fields.canonical()
	}
	memo.expect(KeyOf(written.object), write{
		uid: written.uid, resourceVersion: written.resourceVersion, hash: hash, at: c.clock.Now(),
		mark: written.mark(), altered: written.applied != hash,
	})
}

// beforeFirstApply is the manager that the API server invents for an object whose managers were erased
// (apimachinery/pkg/util/managedfields/internal/skipnonapplied.go).
const beforeFirstApply = "before-first-apply"

// ownAlone removes the invented manager. While it owns all fields as well, a field that is no longer applied would stay, such as
// the owner of a claim to retain.
func (c *Client) ownAlone(ctx context.Context, object *unstructured.Unstructured) error {
	managed := object.GetManagedFields()
	others := slices.DeleteFunc(slices.Clone(managed), func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == beforeFirstApply })
	if len(others) == len(managed) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()}, // unlike a failed test, a conflict
		{"op": "replace", "path": "/metadata/managedFields", "value": others},
	})
	if err != nil {
		return fmt.Errorf("encoding the managers of %s: %w", KeyOf(object), err)
	}
	if err := c.client.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return &ApplyError{Object: KeyOf(object).String(), Err: err}
	}
	return nil
}

// takeFromHelm takes over the fields that a Helm command set and applies again, which removes those that are not desired.
// Fields of beforeFirstApply are not taken over, because any manager may have set them.
func (c *Client) takeFromHelm(ctx context.Context, ref Ref, change Change, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if !slices.ContainsFunc(object.GetManagedFields(), isHelms) {
		return object, nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(object, sets.New(helmManager), FieldManager)
	if err != nil {
		return nil, fmt.Errorf("taking the fields of %s from Helm: %w", KeyOf(object), err)
	}
	if err := c.client.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return nil, &ApplyError{Object: KeyOf(object).String(), Err: err}
	}
	change.live = &live{uid: object.GetUID()}
	return c.send(ctx, ref, change)
}

// send applies one object: as new, or to the object that was seen and never to one that took its place.
func (c *Client) send(ctx context.Context, ref Ref, change Change, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	object := change.Object.DeepCopy()
	if change.live == nil {
		object.SetResourceVersion(noVersion)
	} else {
		object.SetUID(change.live.uid)
	}
	err := c.request(ctx, object, options)
	if apierrors.IsConflict(err) {
		return c.adopt(ctx, ref, change, options)
	}
	return object, err
}

func (c *Client) request(ctx context.Context, object *unstructured.Unstructured, options []client.ApplyOption) error {
	options = append([]client.ApplyOption{client.FieldOwner(FieldManager), client.ForceOwnership}, options...)
	err := c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...)
	if err == nil || apierrors.IsConflict(err) {
		return err
	}
	return &ApplyError{Object: KeyOf(object).String(), Err: err}
}

// adopt reads the object that is in the way, and applies to it if it is the server's own or an orphan of its release.
func (c *Client) adopt(ctx context.Context, ref Ref, change Change, options []client.ApplyOption) (*unstructured.Unstructured, error) {
	key, gvk := KeyOf(change.Object), change.Object.GroupVersionKind()
	found := metadataOf(gvk)
	if err := c.live.Get(ctx, client.ObjectKeyFromObject(change.Object), found); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	there := liveOf(found, gvk)
	switch {
	case ref.Ownership(there.owners) == Predecessors, there.deleting:
		return nil, &TerminatingError{Object: key.String()}
	case !there.mayChange(ref):
		return nil, &ConflictError{Object: key.String()}
	}
	object := change.Object.DeepCopy()
	object.SetUID(there.uid)
	return object, c.request(ctx, object, options)
}

// prune deletes an object if it is still the one that was seen.
func (c *Client) prune(ctx context.Context, memo *Memo, object client.Object) error {
	uid := object.GetUID()
	err := c.client.Delete(ctx, object, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return &ApplyError{Object: KeyOf(object).String(), Err: err}
	}
	memo.expect(KeyOf(object), write{uid: uid, pruned: true, at: c.clock.Now()})
	return nil
}

// release removes the owner from a claim, so that the claim stays when the server is deleted.
func (c *Client) release(ctx context.Context, ref Ref, memo *Memo, claim client.Object) error {
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"ownerReferences":[{"$patch":"delete","uid":%q}]}}`, claim.GetUID(), ref.UID)
	err := c.client.Patch(ctx, claim, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(FieldManager))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return &ApplyError{Object: KeyOf(claim).String(), Err: err}
	}
	released := liveOf(claim, claim.GetObjectKind().GroupVersionKind())
	c.wrote(memo, released, released.applied, false)
	return nil
}
