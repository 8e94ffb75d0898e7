// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package credentials keeps the Secret of a server's own: what the operator generates (the token, the key of the cookies) and
// copies of inline secrets. Read plan.go first: it is pure, and Apply makes the one write that a plan asks for.
//
// What may not live here: Secrets that users create, and whether a spec may have credentials.
package credentials

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

const (
	// originLabel is where the token came from, so that a token that was removed from the spec does not live on as the generated
	// one.
	originLabel = "jupyterserver.dev/token"
	// sessionsLabel is the provider and client at which people sign in. Elsewhere the same subject is another person, so a change
	// ends their sessions.
	sessionsLabel = "jupyterserver.dev/sessions"

	inlineOrigin, generatedOrigin = "inline", "generated"
	// unknownOrigin marks a restored key whose issuer is unknown. The next accepted spec replaces it.
	unknownOrigin = "unknown"

	// saltKey is the key of a random value that keeps a weak secret from being guessed by its digest.
	saltKey = "salt"
)

// Key is a key of the credentials Secret.
type Key struct {
	Name   string
	inline string // the value that the spec gives; empty: a value is generated once

	// label is a label of the Secret, and origin its value: where a generated value belongs to. The value is replaced when it
	// changes. Without a label it never does.
	label, origin string
}

// Needed returns the keys that a spec needs.
func Needed(spec *v1alpha1.JupyterServerSpec) []Key {
	auth := spec.Auth
	switch {
	case auth.Mode == v1alpha1.AuthModeToken && auth.Token == nil:
		return []Key{{Name: render.TokenKey, label: originLabel, origin: generatedOrigin}}
	case auth.Mode == v1alpha1.AuthModeToken && auth.Token.Value != "":
		return []Key{{render.TokenKey, auth.Token.Value, originLabel, inlineOrigin}}
	case auth.Mode == v1alpha1.AuthModeOIDC:
		sessions := Digest([]byte(auth.OIDC.IssuerURL + " " + auth.OIDC.ClientID))[:32]
		keys := []Key{{Name: render.CookieSecretKey, label: sessionsLabel, origin: sessions}}
		if secret := auth.OIDC.ClientSecret; secret != nil && secret.Value != "" {
			keys = append(keys, Key{Name: render.ClientSecretKey, inline: secret.Value})
		}
		return keys
	}
	return nil
}

// Restorable returns the keys with these names as the released revision has them. No record holds inline values, so they are only
// known while the spec is the released one; otherwise a token is generated, and a client secret is lost.
func Restorable(spec *v1alpha1.JupyterServerSpec, specIsReleased bool, names []string) []Key {
	known := []Key{
		{Name: render.TokenKey, label: originLabel, origin: generatedOrigin},
		{Name: render.CookieSecretKey, label: sessionsLabel, origin: unknownOrigin},
	}
	if specIsReleased {
		known = Needed(spec)
	}
	return slices.DeleteFunc(known, func(k Key) bool { return !slices.Contains(names, k.Name) })
}

// heldBy reports whether a stripped Secret holds what is wanted: the inline value, or any that was generated for its origin.
func (k Key) heldBy(secret *corev1.Secret) bool {
	if k.inline != "" {
		return secret.StringData[k.Name] == Digest([]byte(k.inline))
	}
	origin, labelled := secret.Labels[k.label]
	return HasValue(secret, k.Name) && (!labelled || origin == k.origin)
}

// value returns the inline value, or a new random one: a token of 192 bits like Jupyter's own
// (jupyter_server/auth/identity.py), or a key of AES-256 in base64 for oauth2-proxy (pkg/encryption/utils.go).
func (k Key) value() []byte {
	if k.inline != "" {
		return []byte(k.inline)
	}
	raw := make([]byte, 32)
	rand.Read(raw) // never fails (Go 1.24)
	if k.Name == render.TokenKey {
		return []byte(hex.EncodeToString(raw[:24]))
	}
	return []byte(base64.RawURLEncoding.EncodeToString(raw))
}

// Strip is the transform of the informer of Secrets. It keeps a digest of every value, so that the operator's memory holds no
// secret. The digests are in stringData, which the API server never sends, and data is emptied: informers may transform an
// object twice (client-go/tools/cache, TransformFunc), and the digest of a digest would look like another secret.
func Strip(in any) (any, error) {
	secret, ok := in.(*corev1.Secret)
	if !ok {
		return in, nil
	}
	if secret.StringData == nil { // as the API server sends it
		secret.StringData, secret.Annotations = make(map[string]string, len(secret.Data)), nil
	}
	var faults []string
	for key, value := range secret.Data {
		secret.StringData[key] = Digest(value)
		if fault := faultOf(value); fault != "" {
			faults = append(faults, key+"="+fault)
		}
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		secret.Annotations = map[string]string{faultsAnnotation: strings.Join(faults, ",")}
	}
	secret.Data, secret.ManagedFields = nil, nil
	return secret, nil
}

// A value that people send as a token is printable ASCII without spaces, as it is in a spec (v1alpha1.SecretValue).
const (
	faultsAnnotation = "jupyterserver.dev/faults" // is on Secrets in the informers only
	longestToken     = 1024                       // bytes of a value that is looked at: certificates are longer

	// SpaceFault is a value that begins or ends with white space or a byte order mark.
	SpaceFault = "space"
	// CharacterFault is a value with other characters.
	CharacterFault = "character"
)

func faultOf(value []byte) string {
	if len(value) > longestToken {
		return ""
	}
	isSpace := func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' }
	isOther := func(r rune) bool { return r < '!' || r > '~' }
	switch {
	case len(bytes.TrimFunc(value, isSpace)) != len(value):
		return SpaceFault
	case bytes.ContainsFunc(value, isOther):
		return CharacterFault
	}
	return ""
}

// Fault returns why the value of a stripped Secret cannot be sent as a token: SpaceFault, CharacterFault, or "" if it can.
func Fault(secret *corev1.Secret, key string) string {
	for fault := range strings.SplitSeq(secret.Annotations[faultsAnnotation], ",") {
		if why, isKey := strings.CutPrefix(fault, key+"="); isKey {
			return why
		}
	}
	return ""
}

// Digest returns what a stripped Secret holds in the place of a value.
func Digest(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:])
}

// HasValue reports whether a stripped Secret holds a value that is not empty.
func HasValue(secret *corev1.Secret, key string) bool {
	digest := secret.StringData[key]
	return digest != "" && digest != Digest(nil)
}

// Salt returns what the digests of a stripped Secret are salted with: its UID, or the salt of a credentials Secret, which has no
// UID before it is created.
func Salt(secret *corev1.Secret, isOwn bool) string {
	if salt := secret.StringData[saltKey]; isOwn && salt != "" {
		return salt
	}
	return string(secret.UID)
}

// ErrStale means that a plan was made before the informers showed the newest Secret, whose event wakes the server.
var ErrStale = errors.New("the informers do not show the newest credentials Secret yet")

// Apply makes the write of a plan. Its errors are ErrStale, *objects.ApplyError, those of NewPlan about a Secret that the informers
// leave out (records of Helm), or those of reading and encoding it. Live reads from the API server.
func Apply(ctx context.Context, c client.Client, live client.Reader, p Plan) error {
	if !p.Writes() {
		return nil
	}
	var err error
	if p.write.ResourceVersion == "" {
		err = c.Create(ctx, p.write.DeepCopy(), client.FieldOwner(objects.FieldManager))
		if apierrors.IsAlreadyExists(err) {
			return p.checkExisting(ctx, live)
		}
	} else { // the resource version guards what was read: another client may just have written a token
		raw, encoding := json.Marshal(p.write)
		if encoding != nil {
			return fmt.Errorf("encoding the credentials Secret: %w", encoding)
		}
		err = c.Patch(ctx, p.write.DeepCopy(), client.RawPatch(types.MergePatchType, raw), client.FieldOwner(objects.FieldManager))
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return ErrStale
		}
	}
	if err != nil {
		return &objects.ApplyError{Object: "Secret " + p.write.Name, Err: err}
	}
	return nil
}

// checkExisting returns why there is a Secret already: it is not the operator's, or the informers do not show it yet. Those of the type of
// Helm's records they never show, and the operator creates none.
func (p Plan) checkExisting(ctx context.Context, live client.Reader) error {
	found := &corev1.Secret{}
	if err := live.Get(ctx, client.ObjectKeyFromObject(p.write), found); err != nil {
		return fmt.Errorf("reading the credentials Secret: %w", err)
	}
	if found.Type != "" && found.Type != corev1.SecretTypeOpaque {
		return &objects.ConflictError{Object: "Secret " + found.Name}
	}
	return cmp.Or(checkOwner(p.ref, found), ErrStale)
}
