// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// unknownOrigin is the origin of a value that nothing tells more about: it is made anew as soon as that matters.
const unknownOrigin = "unknown"

// putBack is for a server whose spec is blocked, and which goes on as it is. It puts back what the pod reads of the server's own
// Secret and somebody has removed: without that it could not start again. It changes nothing that is there.
func (r *Reconciler) putBack(ctx context.Context, server *v1alpha1.JupyterServer) error {
	reads, err := r.readKeys(ctx, server)
	if len(reads) == 0 || err != nil {
		return err
	}
	name := render.SecretName(server.Name)
	secret, err := get(ctx, r.Client, server.Namespace, name, &corev1.Secret{})
	if err != nil {
		return err
	}
	if secret != nil && !isOwn(server, secret) {
		return nil
	}
	given := namedKeys(server) // somebody may have made a Secret of this name, and named it
	missing := slices.DeleteFunc(reads, func(key string) bool {
		return secret != nil && ownKey{name: key}.isIn(secret) ||
			slices.ContainsFunc(given, func(k namedKey) bool { return k.ref == v1alpha1.KeyRef{Name: name, Key: key} })
	})
	keys := keysToPutBack(server, missing)
	if len(keys) == 0 && (secret == nil || !lostItsOwner(server, secret)) {
		return nil
	}
	if secret == nil {
		err = r.Client.Create(ctx, newSecret(server, keys), client.FieldOwner(release.FieldManager))
	} else {
		_, err = r.patchSecret(ctx, server, secret, labelsOf(keys), valuesOf(keys))
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the informers are behind, and will wake us
	}
	if err != nil {
		return &release.ApplyError{Object: "Secret " + name, Err: err}
	}
	if len(keys) == 0 {
		return nil
	}
	var names []string
	for _, key := range keys {
		names = append(names, key.name)
	}
	r.Events.Eventf(server, nil, corev1.EventTypeWarning, "SecretPutBack", "Repair",
		"put back what the pod needs of the Secret %s to start again: %s; what had to be made anew counts from that start on", name, strings.Join(names, ", "))
	return nil
}

// readKeys are the keys of the server's own Secret that its pod reads, by the StatefulSet that is in the cluster.
func (r *Reconciler) readKeys(ctx context.Context, server *v1alpha1.JupyterServer) ([]string, error) {
	set, err := get(ctx, r.Client, server.Namespace, server.Name, &appsv1.StatefulSet{})
	if set == nil || err != nil || !release.IsOwnSet(server, set) {
		return nil, err
	}
	return release.ReadKeys(set), nil
}

// keysToPutBack are the keys of these names as the released revision has them. Inline values are in no record, so they are known only
// where the spec still is the one that was released; otherwise a token is generated, and a client secret cannot be.
func keysToPutBack(server *v1alpha1.JupyterServer, names []string) []ownKey {
	known := []ownKey{{name: render.TokenKey, label: originLabel, origin: generatedOrigin}, {name: render.CookieSecretKey, label: sessionsLabel, origin: unknownOrigin}}
	if released := server.Status.Release; released != nil && released.Generation == server.Generation {
		known = ownKeys(server)
	}
	return slices.DeleteFunc(known, func(k ownKey) bool { return !slices.Contains(names, k.name) })
}
