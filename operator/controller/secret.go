package controller

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
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

// ensureSecret keeps the server's own Secret: a token that is generated once, or the inline one. It returns the Secret
// as the informers show it, with digests for values, or nil where the server needs none.
func (r *Reconciler) ensureSecret(ctx context.Context, server *v1alpha1.JupyterServer) (*corev1.Secret, error) {
	inline, needed := ownToken(server)
	if !needed {
		return nil, nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: server.Namespace, Name: render.SecretName(server.Name)}
	err := r.Client.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		return r.createSecret(ctx, server, inline)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the server's Secret: %w", err)
	}
	if err := checkOwner(server, secret); err != nil {
		return nil, err
	}
	if holdsToken(secret, inline) {
		return secret, nil
	}
	return r.setToken(ctx, secret, inline)
}

// originLabel says where the token of the server's own Secret came from, so that a token that was taken out of the spec
// does not live on as the generated one.
const originLabel = "jupyterserver.dev/token"

func origin(inline string) string {
	if inline != "" {
		return "inline"
	}
	return "generated"
}

// holdsToken says whether a Secret of the informers holds the token that is wanted: this inline one, or any generated one.
func holdsToken(secret *corev1.Secret, inline string) bool {
	current := secret.StringData[render.TokenKey]
	if inline != "" {
		return current == digest([]byte(inline))
	}
	return current != "" && current != digest(nil) && secret.Labels[originLabel] != origin("x")
}

// ownToken says whether the token lives in the server's own Secret, and its value where the spec gives one.
func ownToken(server *v1alpha1.JupyterServer) (inline string, needed bool) {
	auth := server.Spec.Auth
	if auth.Mode != v1alpha1.AuthModeToken {
		return "", false
	}
	if auth.Token == nil {
		return "", true
	}
	return auth.Token.Value, auth.Token.Value != ""
}

func (r *Reconciler) createSecret(ctx context.Context, server *v1alpha1.JupyterServer, inline string) (*corev1.Secret, error) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            render.SecretName(server.Name),
			Namespace:       server.Namespace,
			Labels:          map[string]string{release.ServerLabel: server.Name, originLabel: origin(inline)},
			OwnerReferences: []metav1.OwnerReference{release.OwnerReference(server)},
		},
		Data: map[string][]byte{render.TokenKey: token(inline)},
	}
	err := r.Client.Create(ctx, secret, client.FieldOwner(release.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		return r.foundSecret(ctx, server)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the server's Secret: %w", err)
	}
	return stripped(secret), nil
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

// setToken writes the key of the token and leaves the others alone. The resource version guards what was read: somebody
// may just have written a token.
func (r *Reconciler) setToken(ctx context.Context, secret *corev1.Secret, inline string) (*corev1.Secret, error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": secret.ResourceVersion, "labels": map[string]string{originLabel: origin(inline)}},
		"data":     map[string][]byte{render.TokenKey: token(inline)},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the token: %w", err)
	}
	updated := secret.DeepCopy()
	if err := r.Client.Patch(ctx, updated, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(release.FieldManager)); err != nil {
		return nil, fmt.Errorf("updating the server's Secret: %w", err)
	}
	return stripped(updated), nil
}

func stripped(secret *corev1.Secret) *corev1.Secret {
	_, _ = StripSecret(secret) // cannot fail: it is a Secret
	return secret
}

// token is the inline token, or a new one of 192 random bits, as Jupyter itself makes them
// (jupyter_server/auth/identity.py).
func token(inline string) []byte {
	if inline != "" {
		return []byte(inline)
	}
	raw := make([]byte, 24)
	rand.Read(raw) // never fails (Go 1.24)
	return []byte(hex.EncodeToString(raw))
}

// checkOwner keeps the operator from touching a Secret that it did not make.
func checkOwner(server *v1alpha1.JupyterServer, secret *corev1.Secret) error {
	if metav1.IsControlledBy(secret, server) {
		return nil
	}
	if owner := metav1.GetControllerOf(secret); owner != nil && owner.Kind == v1alpha1.Kind && owner.Name == server.Name {
		return &release.TerminatingError{Object: "Secret " + secret.Name}
	}
	return &release.ConflictError{Object: "Secret " + secret.Name}
}
