// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// StripSecret is the transform of the informer of Secrets: it keeps a digest of every value, so that the operator's memory
// holds no secret, and drops what nobody looks at. The digests stand in stringData, which the API server never sends, and
// data is emptied: informers may transform an object twice (client-go/tools/cache, TransformFunc), and a digest of a
// digest would look like another secret.
func StripSecret(in any) (any, error) {
	secret, ok := in.(*corev1.Secret)
	if !ok {
		return in, nil
	}
	if secret.StringData == nil {
		secret.StringData = make(map[string]string, len(secret.Data))
	}
	for key, value := range secret.Data {
		secret.StringData[key] = digest(value)
	}
	secret.Data = nil
	secret.ManagedFields = nil
	secret.Annotations = nil
	return secret, nil
}

func digest(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:])
}

// ownKey is a key of the server's own Secret.
type ownKey struct {
	name string
	// inline is the value that the spec gives. Without one a value is generated once.
	inline string
	// label and origin are a label of the Secret that says what the value belongs to. A generated one is made anew when that
	// changes. Without a label there is nothing to tell.
	label, origin string
}

const (
	// originLabel says where the token came from, so that a token that was taken out of the spec does not live on as the
	// generated one.
	originLabel = "jupyterserver.dev/token"
	// sessionsLabel says at which provider, and as which client of it, people sign in: elsewhere the same subject is somebody
	// else, so their sessions must end.
	sessionsLabel = "jupyterserver.dev/sessions"

	inlineOrigin, generatedOrigin = "inline", "generated"
)

// ownKeys are the keys that a server needs in a Secret of its own.
func ownKeys(server *v1alpha1.JupyterServer) []ownKey {
	auth := server.Spec.Auth
	switch {
	case auth.Mode == v1alpha1.AuthModeToken && auth.Token == nil:
		return []ownKey{{render.TokenKey, "", originLabel, generatedOrigin}}
	case auth.Mode == v1alpha1.AuthModeToken && auth.Token.Value != "":
		return []ownKey{{render.TokenKey, auth.Token.Value, originLabel, inlineOrigin}}
	case auth.Mode == v1alpha1.AuthModeOIDC:
		keys := []ownKey{{render.CookieSecretKey, "", sessionsLabel, digest([]byte(auth.OIDC.IssuerURL + " " + auth.OIDC.ClientID))[:32]}}
		if secret := auth.OIDC.ClientSecret; secret != nil && secret.Value != "" {
			keys = append(keys, ownKey{name: render.ClientSecretKey, inline: secret.Value})
		}
		return keys
	}
	return nil
}

// saltKey is the key of a random value, which keeps what is weak in the Secret from being guessed by its digest.
const saltKey = "salt"

// planSecret plans the server's own Secret: what is generated once, and inline values. It returns the Secret as the informers will
// show it, with digests for values, and what writes it: nil where it is there already, or the server needs none. It writes nothing.
func (r *Reconciler) planSecret(ctx context.Context, server *v1alpha1.JupyterServer) (planned *corev1.Secret, write secretWrite, err error) {
	keys := ownKeys(server)
	secret, err := get(ctx, r.Client, server.Namespace, render.SecretName(server.Name), &corev1.Secret{})
	switch {
	case err != nil:
		return nil, nil, err
	case len(keys) == 0:
		write, err = r.clearSecret(ctx, server, secret)
		return nil, write, err
	case secret == nil:
		secret = newSecret(server, keys)
		write = func(ctx context.Context) (*corev1.Secret, error) { return r.createSecret(ctx, server, secret) }
		return stripped(secret.DeepCopy()), write, nil
	}
	if err := checkOwner(server, secret); err != nil {
		return nil, nil, err
	}
	return r.fillSecret(ctx, server, secret, keys)
}

// clearSecret plans what goes of the Secret of a server that needs none of its own any more.
func (r *Reconciler) clearSecret(ctx context.Context, server *v1alpha1.JupyterServer, secret *corev1.Secret) (secretWrite, error) {
	if secret == nil || !isOwn(server, secret) || len(leftOver(secret, nil)) == 0 || slices.Contains(secretNames(server), secret.Name) {
		return nil, nil
	}
	_, write, err := r.fillSecret(ctx, server, secret, nil)
	if write == nil || err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*corev1.Secret, error) {
		_, err := write(ctx)
		return nil, err
	}, nil
}

// secretWrite writes the server's own Secret, and returns it as the informers will show it. That is not what was planned where another
// one was there that they do not show yet.
type secretWrite func(context.Context) (*corev1.Secret, error)

// labelsOf are the labels that follow from the keys.
func labelsOf(keys []ownKey) map[string]string {
	labels := map[string]string{}
	for _, key := range keys {
		if key.label != "" {
			labels[key.label] = key.origin
		}
	}
	return labels
}

// valuesOf are the values of the keys.
func valuesOf(keys []ownKey) map[string][]byte {
	values := map[string][]byte{}
	for _, key := range keys {
		values[key.name] = key.value()
	}
	return values
}

// heldBy says whether a Secret of the informers holds what is wanted: this inline value, or any that was generated for it.
func (k ownKey) heldBy(secret *corev1.Secret) bool {
	if k.inline != "" {
		return secret.StringData[k.name] == digest([]byte(k.inline))
	}
	origin, told := secret.Labels[k.label]
	return k.isIn(secret) && (!told || origin == k.origin)
}

// isIn says whether a Secret of the informers holds any value.
func (k ownKey) isIn(secret *corev1.Secret) bool {
	current := secret.StringData[k.name]
	return current != "" && current != digest(nil)
}

func newSecret(server *v1alpha1.JupyterServer, keys []ownKey) *corev1.Secret {
	labels := map[string]string{v1alpha1.ServerLabel: server.Name}
	maps.Copy(labels, labelsOf(keys))
	values := valuesOf(keys)
	values[saltKey] = ownKey{name: saltKey}.value()
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            render.SecretName(server.Name),
			Namespace:       server.Namespace,
			Labels:          labels,
			OwnerReferences: []metav1.OwnerReference{release.OwnerReference(server)},
		},
		Data: values,
	}
}

func (r *Reconciler) createSecret(ctx context.Context, server *v1alpha1.JupyterServer, secret *corev1.Secret) (*corev1.Secret, error) {
	created := secret.DeepCopy()
	err := r.Client.Create(ctx, created, client.FieldOwner(release.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		return r.foundSecret(ctx, server)
	}
	if err != nil {
		return nil, &release.ApplyError{Object: "Secret " + secret.Name, Err: err}
	}
	return stripped(created), nil
}

// foundSecret is for a Secret that the informers do not show yet: ours, or somebody else's.
func (r *Reconciler) foundSecret(ctx context.Context, server *v1alpha1.JupyterServer) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: server.Namespace, Name: render.SecretName(server.Name)}
	if err := r.Live.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("reading the server's Secret: %w", err)
	}
	if err := checkOwner(server, secret); err != nil {
		return nil, err
	}
	return stripped(secret), nil
}

// fillSecret plans the keys that are missing or differ, and leaves the others alone. An inline value that is no longer in the spec goes,
// once no pod reads it and there is no way back to the revision that needs it. A spec that names the Secret may mean any key of it.
func (r *Reconciler) fillSecret(ctx context.Context, server *v1alpha1.JupyterServer, secret *corev1.Secret, keys []ownKey) (planned *corev1.Secret, write secretWrite, err error) {
	data := map[string][]byte{}
	if left := leftOver(secret, keys); len(left) > 0 && !r.mayGoBack(server) && !slices.Contains(secretNames(server), secret.Name) {
		reads, err := r.readKeys(ctx, server)
		if err != nil {
			return nil, nil, err
		}
		for _, key := range left {
			if !slices.Contains(reads, key) && !slices.Contains(reads, release.AllKeys) {
				data[key] = nil
			}
		}
	}
	for _, key := range keys {
		if !key.heldBy(secret) {
			data[key.name] = key.value()
		}
	}
	if len(data) == 0 && areToldBy(keys, secret) && !lostItsOwner(server, secret) {
		return secret, nil, nil
	}
	planned = secret.DeepCopy()
	for key, value := range data {
		planned.StringData[key] = digest(value)
		if value == nil {
			delete(planned.StringData, key)
		}
	}
	return planned, func(ctx context.Context) (*corev1.Secret, error) {
		written, err := r.patchSecret(ctx, server, secret, labelsOf(keys), data)
		if !apierrors.IsConflict(err) {
			return written, err
		}
		live, err := r.foundSecret(ctx, server) // the informers are behind
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(data, func(name string, _ []byte) bool {
			return slices.ContainsFunc(keys, func(k ownKey) bool { return k.name == name && k.heldBy(live) })
		})
		return r.patchSecret(ctx, server, live, labelsOf(keys), data)
	}, nil
}

// leftOver are the inline values in a Secret that none of the keys is for. Nobody can take them out of one that is immutable.
func leftOver(secret *corev1.Secret, keys []ownKey) []string {
	if ptr.Deref(secret.Immutable, false) {
		return nil
	}
	inline := []string{render.ClientSecretKey}
	if secret.Labels[originLabel] == inlineOrigin {
		inline = append(inline, render.TokenKey)
	}
	return slices.DeleteFunc(inline, func(name string) bool {
		_, there := secret.StringData[name]
		return !there || slices.ContainsFunc(keys, func(k ownKey) bool { return k.name == name })
	})
}

// areToldBy says whether the labels of a Secret tell what its values belong to.
func areToldBy(keys []ownKey, secret *corev1.Secret) bool {
	for label, origin := range labelsOf(keys) {
		if secret.Labels[label] != origin {
			return false
		}
	}
	return true
}

// patchSecret writes some keys, and removes those that are nil. The resource version guards what was read: somebody may just have
// written a token.
func (r *Reconciler) patchSecret(ctx context.Context, server *v1alpha1.JupyterServer, secret *corev1.Secret, labels map[string]string, data map[string][]byte) (*corev1.Secret, error) {
	metadata := map[string]any{"resourceVersion": secret.ResourceVersion, "labels": labels}
	if lostItsOwner(server, secret) {
		metadata["ownerReferences"] = []metav1.OwnerReference{release.OwnerReference(server)}
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata, "data": data})
	if err != nil {
		return nil, fmt.Errorf("encoding the server's Secret: %w", err)
	}
	updated := secret.DeepCopy()
	if err := r.Client.Patch(ctx, updated, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(release.FieldManager)); err != nil {
		return nil, &release.ApplyError{Object: "Secret " + secret.Name, Err: err}
	}
	return stripped(updated), nil
}

func stripped(secret *corev1.Secret) *corev1.Secret {
	_, _ = StripSecret(secret) // cannot fail: it is a Secret
	return secret
}

// value is the inline value, or a new random one: a token of 192 bits, as Jupyter itself makes them
// (jupyter_server/auth/identity.py), or a key of AES-256 in base64, as oauth2-proxy wants it (pkg/encryption/utils.go).
func (k ownKey) value() []byte {
	if k.inline != "" {
		return []byte(k.inline)
	}
	raw := make([]byte, 32)
	rand.Read(raw) // never fails (Go 1.24)
	if k.name == render.TokenKey {
		return []byte(hex.EncodeToString(raw[:24]))
	}
	return []byte(base64.RawURLEncoding.EncodeToString(raw))
}

// checkOwner keeps the operator from touching a Secret that it did not make.
func checkOwner(server *v1alpha1.JupyterServer, secret *corev1.Secret) error {
	switch {
	case isOwn(server, secret):
		return nil
	case release.WhoseIs(server, secret.OwnerReferences) == release.Namesakes:
		return &release.TerminatingError{Object: "Secret " + secret.Name}
	}
	return &release.ConflictError{Object: "Secret " + secret.Name}
}

func isOwn(server *v1alpha1.JupyterServer, secret *corev1.Secret) bool {
	return release.WhoseIs(server, secret.OwnerReferences) == release.Ours || lostItsOwner(server, secret)
}

// lostItsOwner says whether somebody took the owner from the Secret of a server. Only of one that was released: its pod reads the Secret of
// this name, whosever it is. It gets its owner back.
func lostItsOwner(server *v1alpha1.JupyterServer, secret *corev1.Secret) bool {
	return server.Status.Release != nil && secret.Labels[v1alpha1.ServerLabel] == server.Name &&
		release.WhoseIs(server, secret.OwnerReferences) == release.Nobodys
}
