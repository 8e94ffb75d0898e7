// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// noVersion is a resource version that no object has. An apply that carries it creates what is not there, and conflicts
// with whatever is: the API server checks it only against an object that exists (registry/generic/registry/store.go).
// So one call makes an object without ever taking over somebody else's.
const noVersion = "1"

// payload is a rendered object as it is sent: with its owner, with what Helm expects on objects of a release
// (helm.sh/helm/v3/pkg/action/validate.go), and with the digest of all that.
func payload(server *v1alpha1.JupyterServer, desired *unstructured.Unstructured) (*unstructured.Unstructured, string, error) {
	object := desired.DeepCopy()
	object.SetNamespace(server.Namespace)
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.ServerLabel] = server.Name // whatever a patch did to it: the informers find the object by it
	object.SetLabels(labels)
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[helmReleaseAnnotation] = server.Name
	annotations[helmNamespaceAnnotation] = server.Namespace
	object.SetAnnotations(annotations)
	if !retained(server, object) {
		object.SetOwnerReferences([]metav1.OwnerReference{OwnerReference(server)})
	}
	raw, err := object.MarshalJSON()
	if err != nil {
		return nil, "", fmt.Errorf("encoding %s: %w", keyOf(object), err)
	}
	sum := sha256.Sum256(raw)
	hash := hex.EncodeToString(sum[:16])
	annotations[appliedAnnotation] = hash
	object.SetAnnotations(annotations)
	return object, hash, nil
}

// retained says whether an object stays when the server is deleted.
func retained(server *v1alpha1.JupyterServer, object client.Object) bool {
	return server.Spec.Storage.Retain && keyOf(object).kind == claimKind
}

// OwnerReference makes the garbage collector delete an object with its server, also while the operator is down.
func OwnerReference(server *v1alpha1.JupyterServer) metav1.OwnerReference {
	return *metav1.NewControllerRef(server, v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
}

// apply sends one object, and remembers what was written.
func (e *Engine) apply(ctx context.Context, server *v1alpha1.JupyterServer, change Change) error {
	object, err := e.applyAs(ctx, server, change)
	if err != nil {
		return err
	}
	if err := e.ownAlone(ctx, object); err != nil {
		return err
	}
	if object, err = e.takeFromHelm(ctx, server, change, object); err != nil {
		return err
	}
	answer := observed(object, object.GroupVersionKind())
	answer.fields = answer.fields.canonical()
	e.wrote(server, answer, change.hash)
	return nil
}

// wrote remembers what the API server answered to a write of what has this digest.
func (e *Engine) wrote(server *v1alpha1.JupyterServer, answer *ownedObject, hash string) {
	e.written.setObject(server, keyOf(answer.object), writing{
		uid: answer.uid, resourceVersion: answer.resourceVersion, hash: hash, at: e.clock.Now(),
		mark: answer.mark(), altered: answer.applied != hash,
	})
}

// beforeFirstApply is the manager that the API server makes up for the fields of an object whose managers somebody has erased
// (apimachinery/pkg/util/managedfields/internal/skipnonapplied.go).
const beforeFirstApply = "before-first-apply"

// ownAlone takes our fields from a manager that the API server made up: while it owns them too, a field that we do not apply any more
// would stay, such as the owner of a claim that is to be retained.
func (e *Engine) ownAlone(ctx context.Context, object *unstructured.Unstructured) error {
	managed := object.GetManagedFields()
	others := slices.DeleteFunc(slices.Clone(managed), func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == beforeFirstApply })
	if len(others) == len(managed) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()}, // a test that fails is no conflict
		{"op": "replace", "path": "/metadata/managedFields", "value": others},
	})
	if err != nil {
		return fmt.Errorf("encoding the managers of %s: %w", keyOf(object), err)
	}
	if err := e.client.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return &ApplyError{Object: keyOf(object).String(), Err: err}
	}
	return nil
}

// takeFromHelm makes the fields that Helm's command set ours, and applies again: those that are not in what we apply go. What
// beforeFirstApply owns is not taken so, because it may be anybody's.
func (e *Engine) takeFromHelm(ctx context.Context, server *v1alpha1.JupyterServer, change Change, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if !slices.ContainsFunc(object.GetManagedFields(), isHelms) {
		return object, nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(object, sets.New(helmManager), FieldManager)
	if err != nil {
		return nil, fmt.Errorf("taking the fields of %s from Helm: %w", keyOf(object), err)
	}
	if err := e.client.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return nil, &ApplyError{Object: keyOf(object).String(), Err: err}
	}
	change.live = &ownedObject{uid: object.GetUID()}
	return e.applyAs(ctx, server, change)
}

// applyAs sends one object: as new, or to the one that was seen.
func (e *Engine) applyAs(ctx context.Context, server *v1alpha1.JupyterServer, change Change, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	object := change.Object.DeepCopy()
	if change.live == nil {
		object.SetResourceVersion(noVersion)
	} else {
		object.SetUID(change.live.uid) // never an object that took the place of the one we saw
	}
	err := e.send(ctx, object, options)
	if apierrors.IsConflict(err) {
		return e.resolve(ctx, server, change, options)
	}
	return object, err
}

func (e *Engine) send(ctx context.Context, object *unstructured.Unstructured, options []client.ApplyOption) error {
	options = append([]client.ApplyOption{client.FieldOwner(FieldManager), client.ForceOwnership}, options...)
	err := e.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...)
	if err == nil || apierrors.IsConflict(err) {
		return err
	}
	return &ApplyError{Object: keyOf(object).String(), Err: err}
}

// resolve looks at the object that is in the way, and applies to it if it is ours after all.
func (e *Engine) resolve(ctx context.Context, server *v1alpha1.JupyterServer, change Change, options []client.ApplyOption) (*unstructured.Unstructured, error) {
	key := keyOf(change.Object)
	e.written.forgetObject(server, key)
	gvk := change.Object.GroupVersionKind()
	found := metadataOf(gvk)
	if err := e.live.Get(ctx, client.ObjectKeyFromObject(change.Object), found); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	there := observed(found, gvk)
	switch {
	case WhoseIs(server, there.owners) == Namesakes, there.deleting:
		return nil, &TerminatingError{Object: key.String()}
	case !there.isOf(server):
		return nil, &ConflictError{Object: key.String()}
	}
	object := change.Object.DeepCopy()
	object.SetUID(there.uid)
	return object, e.send(ctx, object, options)
}

// prune deletes an object that is rendered no more, if it is still the one that was seen.
func (e *Engine) prune(ctx context.Context, server *v1alpha1.JupyterServer, object client.Object) error {
	uid := object.GetUID()
	err := e.client.Delete(ctx, object, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return &ApplyError{Object: keyOf(object).String(), Err: err}
	}
	e.written.setObject(server, keyOf(object), writing{uid: uid, pruned: true, at: e.clock.Now()})
	return nil
}

// letGo takes the owner from a claim, so that it stays when the server goes.
func (e *Engine) letGo(ctx context.Context, server *v1alpha1.JupyterServer, claim client.Object) error {
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"ownerReferences":[{"$patch":"delete","uid":%q}]}}`, claim.GetUID(), server.UID)
	err := e.client.Patch(ctx, claim, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(FieldManager))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return &ApplyError{Object: keyOf(claim).String(), Err: err}
	}
	answer := observed(claim, claim.GetObjectKind().GroupVersionKind())
	e.wrote(server, answer, answer.applied)
	return nil
}
