// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// references are what a spec refers to, as it will be once the server's own Secret is written.
type references struct {
	digests render.References
	bundle  string
	// write is nil where the own Secret is as it shall be.
	write secretWrite
}

// resolve checks that what the spec refers to exists, and digests what the pod reads only at its start. It reads from
// the informers, where Secrets hold digests instead of values. It leaves the server's own Secret to be written by who has permission.
func (r *Reconciler) resolve(ctx context.Context, server *v1alpha1.JupyterServer) (refs references, err error) {
	if err := r.checkClaim(ctx, server); err != nil {
		return refs, err
	}
	for _, named := range namedKeys(server) {
		if err := r.checkKey(ctx, server.Namespace, named); err != nil {
			return refs, err
		}
	}
	if refs.bundle, err = r.bundleDigest(ctx, server); err != nil {
		return refs, err
	}
	own, write, err := r.planSecret(ctx, server)
	if err != nil {
		return refs, err
	}
	refs.write = write
	refs.digests.SecretsChecksum, err = r.checksum(ctx, server, own, refs.bundle)
	return refs, err
}

// writeOwn writes the server's own Secret. It returns what was rendered, or what is to be instead, because the Secret is another one
// than the informers made believe.
func (r *Reconciler) writeOwn(ctx context.Context, server *v1alpha1.JupyterServer, refs references, rendered *render.Rendered) (*render.Rendered, error) {
	if refs.write == nil {
		return rendered, nil
	}
	own, err := refs.write(ctx)
	if err != nil {
		return nil, err
	}
	sum, err := r.checksum(ctx, server, own, refs.bundle)
	if err != nil || sum == refs.digests.SecretsChecksum {
		return rendered, err
	}
	return r.render(server, render.References{SecretsChecksum: sum})
}

func (r *Reconciler) checkClaim(ctx context.Context, server *v1alpha1.JupyterServer) error {
	name := server.Spec.Storage.ExistingClaim
	if name == "" {
		return nil
	}
	claim := &corev1.PersistentVolumeClaim{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: name}, claim)
	if apierrors.IsNotFound(err) {
		return &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The claim %s of spec.storage.existingClaim does not exist in the namespace: create it, or correct the name.", name)}
	}
	if err != nil {
		return fmt.Errorf("reading the claim %s: %w", name, err)
	}
	if owner := metav1.GetControllerOf(claim); owner != nil && release.IsServer(*owner) {
		return &blocked{v1alpha1.ReasonClaimOwned, fmt.Sprintf("The claim %s of spec.storage.existingClaim belongs to the JupyterServer %s and would be deleted with it: remove existingClaim, or set storage.retain on that server and delete it first.", name, owner.Name)}
	}
	return nil
}

// namedKey is a key of a Secret that the spec names.
type namedKey struct {
	field, what string
	ref         v1alpha1.KeyRef
}

// namedKeys are the keys of Secrets without which there is no access control. The environment's are the kubelet's to find.
func namedKeys(server *v1alpha1.JupyterServer) []namedKey {
	auth := server.Spec.Auth
	switch {
	case auth.Mode == v1alpha1.AuthModeToken && auth.Token != nil && auth.Token.SecretKeyRef != nil:
		return []namedKey{{"spec.auth.token.secretKeyRef", "a token", *auth.Token.SecretKeyRef}}
	case auth.Mode == v1alpha1.AuthModeOIDC && auth.OIDC.ClientSecret != nil && auth.OIDC.ClientSecret.SecretKeyRef != nil:
		return []namedKey{{"spec.auth.oidc.clientSecret.secretKeyRef", "the client's secret", *auth.OIDC.ClientSecret.SecretKeyRef}}
	}
	return nil
}

func (r *Reconciler) checkKey(ctx context.Context, namespace string, named namedKey) error {
	ref := named.ref
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading the Secret %s: %w", ref.Name, err)
	}
	if err != nil {
		return &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The Secret %s of %s does not exist in the namespace: create it, or correct the name.", ref.Name, named.field)}
	}
	value, ok := secret.StringData[ref.Key]
	if !ok {
		return &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The Secret %s of %s has no key %s: add it, or correct the key.", ref.Name, named.field, ref.Key)}
	}
	if value == digest(nil) {
		return &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The key %s of the Secret %s is empty: put %s there.", ref.Key, ref.Name, named.what)}
	}
	return nil
}

// checksum is over what the pod reads only at its start: the Secrets of the access control, of env and of envFrom, and the
// certificates. It is salted, so that a weak secret cannot be guessed from the pod's annotation by who cannot read the Secret anyway:
// with the Secrets' UIDs, or with a salt in the server's own Secret, which has no UID before it is written.
func (r *Reconciler) checksum(ctx context.Context, server *v1alpha1.JupyterServer, own *corev1.Secret, bundle string) (string, error) {
	keys := environmentKeys(server)
	for _, named := range namedKeys(server) {
		keys[named.ref.Name] = append(keys[named.ref.Name], named.ref.Key)
	}
	for _, key := range ownKeys(server) {
		keys[own.Name] = append(keys[own.Name], key.name)
	}
	sum := sha256.New()
	for _, name := range sortedNames(keys) {
		secret := own
		if own == nil || own.Name != name {
			secret = &corev1.Secret{}
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: name}, secret)
			if apierrors.IsNotFound(err) {
				continue // optional, or the kubelet says so
			}
			if err != nil {
				return "", fmt.Errorf("reading the Secret %s: %w", name, err)
			}
		}
		salt := string(secret.UID)
		if own != nil && own.Name == name {
			salt = cmp.Or(own.StringData[saltKey], salt)
		}
		fmt.Fprintf(sum, "%s %s\n", name, salt)
		for _, key := range selectedKeys(secret, keys[name]) {
			fmt.Fprintf(sum, "%s %s\n", key, secret.StringData[key])
		}
	}
	if bundle != "" {
		fmt.Fprintf(sum, "bundle %s\n", bundle)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// allKeys stands for every key of a Secret.
const allKeys = ""

// environmentKeys are the Secrets, and their keys, that env and envFrom of the Jupyter container name.
func environmentKeys(server *v1alpha1.JupyterServer) map[string][]string {
	keys := map[string][]string{}
	for _, env := range server.Spec.JupyterServer.Env {
		if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
			ref := env.ValueFrom.SecretKeyRef
			keys[ref.Name] = append(keys[ref.Name], ref.Key)
		}
	}
	for _, from := range server.Spec.JupyterServer.EnvFrom {
		if from.SecretRef != nil {
			keys[from.SecretRef.Name] = append(keys[from.SecretRef.Name], allKeys)
		}
	}
	return keys
}

func selectedKeys(secret *corev1.Secret, wanted []string) []string {
	selected := map[string][]string{}
	for _, key := range wanted {
		if key == allKeys {
			for every := range secret.StringData {
				selected[every] = nil
			}
			continue
		}
		selected[key] = nil
	}
	return sortedNames(selected)
}

func sortedNames(m map[string][]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// secretNames are the Secrets that the spec names.
func secretNames(server *v1alpha1.JupyterServer) []string {
	keys := environmentKeys(server)
	for _, named := range namedKeys(server) {
		keys[named.ref.Name] = nil
	}
	return sortedNames(keys)
}
