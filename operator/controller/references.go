package controller

import (
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
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
)

// resolve checks that what the spec refers to exists, and digests what the pod reads only at its start. It reads from
// the informers, where Secrets hold digests instead of values.
func (r *Reconciler) resolve(ctx context.Context, server *v1alpha1.JupyterServer) (render.References, error) {
	if err := r.checkClaim(ctx, server); err != nil {
		return render.References{}, err
	}
	tokenSecret, err := r.tokenSecret(ctx, server)
	if err != nil {
		return render.References{}, err
	}
	sum, err := r.checksum(ctx, server, tokenSecret)
	return render.References{SecretsChecksum: sum}, err
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
	if owner := metav1.GetControllerOf(claim); owner != nil && owner.Kind == v1alpha1.Kind {
		return &blocked{v1alpha1.ReasonClaimOwned, fmt.Sprintf("The claim %s of spec.storage.existingClaim belongs to the JupyterServer %s and would be deleted with it: remove existingClaim, or set storage.retain on that server and delete it first.", name, owner.Name)}
	}
	return nil
}

// tokenSecret is the Secret that the token is read from: the server's own, or the one that the spec names.
func (r *Reconciler) tokenSecret(ctx context.Context, server *v1alpha1.JupyterServer) (*corev1.Secret, error) {
	token := server.Spec.Auth.Token
	if server.Spec.Auth.Mode != v1alpha1.AuthModeToken || token == nil || token.SecretKeyRef == nil {
		return r.ensureSecret(ctx, server)
	}
	ref := token.SecretKeyRef
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: ref.Name}, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading the Secret %s: %w", ref.Name, err)
	}
	if err != nil {
		return nil, &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The Secret %s of spec.auth.token.secretKeyRef does not exist in the namespace: create it, or correct the name.", ref.Name)}
	}
	value, ok := secret.StringData[ref.Key]
	if !ok {
		return nil, &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The Secret %s of spec.auth.token.secretKeyRef has no key %s: add it, or correct the key.", ref.Name, ref.Key)}
	}
	if value == digest(nil) {
		return nil, &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The key %s of the Secret %s is empty: put a token there.", ref.Key, ref.Name)}
	}
	return secret, nil
}

// checksum is over the Secrets whose content the pod reads only at its start: the token, env and envFrom. It is salted
// with the Secrets' UIDs, so that a weak secret cannot be guessed from the pod's annotation by who cannot read the
// Secret anyway.
func (r *Reconciler) checksum(ctx context.Context, server *v1alpha1.JupyterServer, token *corev1.Secret) (string, error) {
	keys := environmentKeys(server)
	if token != nil {
		keys[token.Name] = append(keys[token.Name], tokenKey(server))
	}
	sum := sha256.New()
	for _, name := range sortedNames(keys) {
		secret := token
		if token == nil || token.Name != name {
			secret = &corev1.Secret{}
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: name}, secret)
			if apierrors.IsNotFound(err) {
				continue // optional, or the kubelet says so
			}
			if err != nil {
				return "", fmt.Errorf("reading the Secret %s: %w", name, err)
			}
		}
		fmt.Fprintf(sum, "%s %s\n", name, secret.UID)
		for _, key := range selectedKeys(secret, keys[name]) {
			fmt.Fprintf(sum, "%s %s\n", key, secret.StringData[key])
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func tokenKey(server *v1alpha1.JupyterServer) string {
	if token := server.Spec.Auth.Token; token != nil && token.SecretKeyRef != nil {
		return token.SecretKeyRef.Key
	}
	return render.TokenKey
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

// secretNames are the Secrets a change of which wakes the server. Its own is among them by name, because somebody else's
// of that name has no label.
func secretNames(server *v1alpha1.JupyterServer) []string {
	keys := environmentKeys(server)
	keys[render.SecretName(server.Name)] = nil
	if token := server.Spec.Auth.Token; token != nil && token.SecretKeyRef != nil {
		keys[token.SecretKeyRef.Name] = nil
	}
	return sortedNames(keys)
}
