// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Keeper writes credentials Secrets.
type Keeper struct {
	client client.Client
	live   client.Reader
}

// NewKeeper returns a Keeper. The informers behind c need Strip; live reads from the API server.
func NewKeeper(c client.Client, live client.Reader) *Keeper { return &Keeper{client: c, live: live} }

// Apply makes the write of a plan and returns the Secret, stripped. That is another one than planned if the informers lagged: then a
// Secret that is there is kept. Its errors include those of NewPlan and *objects.ApplyError.
func (k *Keeper) Apply(ctx context.Context, p Plan) (*corev1.Secret, error) {
	if !p.writes {
		return p.Secret, nil
	}
	if p.create != nil {
		created := p.create.DeepCopy()
		err := k.client.Create(ctx, created, client.FieldOwner(objects.FieldManager))
		if apierrors.IsAlreadyExists(err) {
			return k.read(ctx, p)
		}
		if err != nil {
			return nil, applyError(p, err)
		}
		return strip(created), nil
	}
	written, err := k.patch(ctx, p, p.have)
	if !apierrors.IsConflict(err) {
		return written, err
	}
	there, err := k.read(ctx, p)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(p.data, func(name string, _ []byte) bool {
		return slices.ContainsFunc(p.keys, func(key Key) bool { return key.Name == name && key.heldBy(there) })
	})
	return k.patch(ctx, p, there)
}

// read reads the Secret from the API server, for informers that lag.
func (k *Keeper) read(ctx context.Context, p Plan) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := k.live.Get(ctx, client.ObjectKey{Namespace: p.ref.Namespace, Name: render.SecretName(p.ref.Name)}, secret); err != nil {
		return nil, fmt.Errorf("reading the credentials Secret: %w", err)
	}
	if err := checkOwner(p.ref, secret); err != nil {
		return nil, err
	}
	return strip(secret), nil
}

// patch writes the keys of a plan. The resource version guards what was read: another client may just have written a token.
func (k *Keeper) patch(ctx context.Context, p Plan, secret *corev1.Secret) (*corev1.Secret, error) {
	metadata := map[string]any{"resourceVersion": secret.ResourceVersion, "labels": labelsOf(p.keys)}
	if lostItsOwner(p.ref, secret) {
		metadata["ownerReferences"] = []metav1.OwnerReference{p.ref.Owner()}
	}
	raw, err := json.Marshal(map[string]any{"metadata": metadata, "data": p.data})
	if err != nil {
		return nil, fmt.Errorf("encoding the credentials Secret: %w", err)
	}
	updated := secret.DeepCopy()
	if err := k.client.Patch(ctx, updated, client.RawPatch(types.MergePatchType, raw), client.FieldOwner(objects.FieldManager)); err != nil {
		return nil, applyError(p, err)
	}
	return strip(updated), nil
}

func applyError(p Plan, err error) error {
	return &objects.ApplyError{Object: "Secret " + render.SecretName(p.ref.Name), Err: err}
}
