// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Kinds of objects that specs name, as messages call them.
const (
	Secret    = "Secret"
	ConfigMap = "ConfigMap"
	Claim     = "PVC"
)

// reference is an object, or a key of one, that a spec names.
type reference struct {
	kind  string
	field string // where the spec names it
	ref   v1alpha1.KeyRef
	value string // what the key of a Secret holds that authentication needs

	environment bool // of the Jupyter container, which the kubelet checks when it starts
	optional    bool
}

// referencesOf returns everything that a spec names, in the order in which it is checked.
func referencesOf(spec *v1alpha1.JupyterServerSpec) (refs []reference) {
	if name := spec.Storage.ExistingClaim; name != "" {
		refs = append(refs, reference{kind: Claim, field: "spec.storage.existingClaim", ref: v1alpha1.KeyRef{Name: name}})
	}
	token, oidc := spec.Auth.Token, spec.Auth.OIDC
	if spec.Auth.Mode == v1alpha1.AuthModeToken && token != nil && token.SecretKeyRef != nil {
		refs = append(refs, reference{kind: Secret, field: "spec.auth.token.secretKeyRef", ref: *token.SecretKeyRef, value: "a token"})
	}
	if spec.Auth.Mode == v1alpha1.AuthModeOIDC && oidc != nil && oidc.ClientSecret != nil && oidc.ClientSecret.SecretKeyRef != nil {
		refs = append(refs, reference{kind: Secret, field: "spec.auth.oidc.clientSecret.secretKeyRef", ref: *oidc.ClientSecret.SecretKeyRef, value: "the client secret"})
	}
	if oidc != nil && oidc.CABundle != nil {
		refs = append(refs, reference{kind: ConfigMap, field: "spec.auth.oidc.caBundle", ref: oidc.CABundle.ConfigMapKeyRef})
	}
	environment := corev1.Container{Env: spec.JupyterServer.Env, EnvFrom: spec.JupyterServer.EnvFrom}
	objects.EnvironmentSecrets(environment, func(secret, key string, optional bool) {
		field := "spec.jupyterServer.env"
		if key == objects.AllKeys {
			field = "spec.jupyterServer.envFrom"
		}
		refs = append(refs, reference{kind: Secret, field: field, ref: v1alpha1.KeyRef{Name: secret, Key: key}, environment: true, optional: optional})
	})
	return refs
}

// Named returns the objects that a spec names, as NameOf spells them.
func Named(spec *v1alpha1.JupyterServerSpec) (names []string) {
	for _, r := range referencesOf(spec) {
		names = append(names, NameOf(r.kind, r.ref.Name))
	}
	return names
}

// NameOf returns the name of an object with its kind.
func NameOf(kind, name string) string { return kind + " " + name }

// resolve checks that what the spec refers to exists, plans the credentials Secret, and digests what the pod reads only at its start.
// It stops at the first problem. What the environment lacks is the kubelet's to report, but while Jupyter runs with this spec: without
// it, a new pod would take the place of one that works, and not start.
func (l *look) resolve(ctx context.Context) error {
	for _, r := range referencesOf(&l.server.Spec) {
		if r.environment && (r.optional || !l.Pod.Runs || !l.specIsReleased() || r.ref.Name == render.SecretName(l.server.Name)) {
			continue
		}
		if err := l.check(ctx, r); err != nil || l.Problem != nil {
			return err
		}
	}
	if err := l.planCredentials(); err != nil || l.Problem != nil {
		return err
	}
	checksum, err := l.checksum(ctx)
	l.References = render.References{SecretsChecksum: checksum}
	return err
}

// check notes as a problem what is wrong with something that the spec names.
func (l *look) check(ctx context.Context, r reference) error {
	into := map[string]client.Object{Claim: &corev1.PersistentVolumeClaim{}, Secret: &corev1.Secret{}, ConfigMap: metadata(ConfigMap)}
	found, err := get(ctx, l.Cached, l.server.Namespace, r.ref.Name, into[r.kind])
	if err != nil {
		return err
	}
	switch found := found.(type) {
	case nil:
		l.missingf("The %s %s of %s does not exist in the namespace: create it, or correct the name.", r.kind, r.ref.Name, r.field)
	case *corev1.PersistentVolumeClaim:
		if owner := metav1.GetControllerOf(found); owner != nil && objects.IsServer(*owner) {
			l.Problem = reconcile.NewProblem(v1alpha1.ReasonClaimOwned, fmt.Sprintf("The PVC %s of %s belongs to the JupyterServer %s and would be "+
				"deleted with it: remove existingClaim, or set storage.retain on that server and delete it first.", r.ref.Name, r.field, owner.Name))
		}
	case *corev1.Secret:
		l.checkSecret(r, found)
	case *metav1.PartialObjectMetadata:
		return l.checkBundle(ctx, r, found)
	}
	return nil
}

// checkSecret notes as a problem that a Secret does not hold what people or the provider can be sent.
func (l *look) checkSecret(r reference, secret *corev1.Secret) {
	if r.ref.Key == objects.AllKeys {
		return
	}
	if _, ok := l.valueOf(r, secret.StringData); !ok || r.environment {
		return
	}
	if !credentials.HasValue(secret, r.ref.Key) {
		l.missingf("The key %s of the Secret %s is empty: put %s there.", r.ref.Key, r.ref.Name, r.value)
		return
	}
	fault := map[string]string{
		credentials.SpaceFault:     "begins or ends with white space, such as a line break, which would be a part of it",
		credentials.CharacterFault: "holds spaces or characters other than printable ASCII, which not all clients can send",
	}[credentials.Fault(secret, r.ref.Key)]
	if fault != "" {
		l.Problem = reconcile.NewProblem(v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"The key %s of the Secret %s, which %s names, %s: create it again without, for instance with kubectl create secret generic --from-literal.",
			r.ref.Key, r.ref.Name, r.field, fault))
	}
}

// valueOf returns the value of the key that the spec names, and notes the problem if there is no such key.
func (l *look) valueOf(r reference, data map[string]string) (value string, ok bool) {
	if value, ok = data[r.ref.Key]; !ok {
		l.missingf("The %s %s of %s has no key %s: add it, or correct the key.", r.kind, r.ref.Name, r.field, r.ref.Key)
	}
	return value, ok
}

func (l *look) missingf(format string, args ...any) {
	l.Problem = reconcile.NewProblem(v1alpha1.ReasonReferenceNotFound, fmt.Sprintf(format, args...))
}

// checkBundle rejects certificates that the authentication plugin would fail on at its start, and notes the digest of others. The
// content of each version is read once, since the informers hold only the metadata of ConfigMaps.
func (l *look) checkBundle(ctx context.Context, r reference, seen *metav1.PartialObjectMetadata) error {
	version := fmt.Sprintf("%v %s %s", r.ref, seen.UID, seen.ResourceVersion)
	if l.memo.bundle.version == version {
		l.bundle = l.memo.bundle.digest
		return nil
	}
	live := &corev1.ConfigMap{}
	if err := l.Live.Get(ctx, client.ObjectKey{Namespace: l.server.Namespace, Name: r.ref.Name}, live); err != nil {
		return fmt.Errorf("reading the ConfigMap %s: %w", r.ref.Name, err)
	}
	content, ok := l.valueOf(r, live.Data)
	if !ok {
		return nil
	}
	if trouble := troubleWith(content); trouble != "" {
		l.Problem = reconcile.NewProblem(v1alpha1.ReasonBundleInvalid, fmt.Sprintf(
			"The key %s of the ConfigMap %s, which %s names, %s: put the certificates there, as PEM.", r.ref.Key, r.ref.Name, r.field, trouble))
		return nil
	}
	l.bundle = credentials.Digest([]byte(content))
	l.memo.bundle = bundle{version, l.bundle}
	return nil
}

// troubleWith returns what is wrong with certificates, or "".
func troubleWith(content string) string {
	_, err := certutil.ParseCertsPEM([]byte(content))
	switch {
	case err == nil:
		return ""
	case strings.Contains(content, "-----BEGIN CERTIFICATE-----"):
		return fmt.Sprintf("holds a certificate that cannot be read (%v)", err)
	}
	return "holds no certificate"
}

// findCredentials reads the credentials Secret, and plans what the pod reads of it and was deleted: without it the pod of a server
// whose spec is not followed could not start again. Nothing is overwritten. Specs may name a key of it that a user created.
func (l *look) findCredentials(ctx context.Context) (err error) {
	name, spec := render.SecretName(l.server.Name), &l.server.Spec
	l.own, err = get(ctx, l.Cached, l.server.Namespace, name, &corev1.Secret{})
	if err != nil || len(l.reads) == 0 {
		return err
	}
	named := referencesOf(spec)
	missing := slices.DeleteFunc(slices.Clone(l.reads), func(key string) bool {
		isNamed := func(r reference) bool {
			return r.kind == Secret && !r.environment && r.ref == v1alpha1.KeyRef{Name: name, Key: key}
		}
		return l.own != nil && credentials.HasValue(l.own, key) || slices.ContainsFunc(named, isNamed)
	})
	l.Restore, err = credentials.NewPlan(credentials.Request{
		Ref: l.ref.Ref, Have: l.own, Keys: credentials.Restorable(spec, l.specIsReleased(), missing), Reads: l.reads, Restores: true,
	})
	return err
}

func (l *look) specIsReleased() bool {
	return l.Current != nil && l.Current.Generation == l.server.Generation
}

// planCredentials plans the credentials Secret for the spec. An inline value that the spec no longer holds is dropped once no
// rollback needs it. A spec that names the Secret may mean any key of it.
func (l *look) planCredentials() (err error) {
	c, spec := l.Current, &l.server.Spec
	unreported := l.server.Status.ObservedGeneration != l.server.Generation
	mayRollBack := c != nil && (c.RolledBack != nil || l.Upgrades.Rollback && (unreported || c.GoodRevision != c.Revision))
	l.Credentials, err = credentials.NewPlan(credentials.Request{
		Ref: l.ref.Ref, Have: l.own, Keys: credentials.Needed(spec), Reads: l.reads,
		Drops: !mayRollBack && !slices.Contains(Named(spec), NameOf(Secret, render.SecretName(l.server.Name))),
	})
	if l.Problem = reconcile.ProblemOf(err); l.Problem != nil {
		return nil
	}
	return err
}

// checksum digests what the pod reads only at its start: the Secrets of the access control, of env and of envFrom, and the
// certificates. It is salted, so that a weak secret cannot be guessed from the pod's annotation. It is part of the pod template:
// another format restarts all pods.
func (l *look) checksum(ctx context.Context) (string, error) {
	keys, ownName := map[string][]string{}, "" // by Secret
	for _, r := range referencesOf(&l.server.Spec) {
		if r.kind == Secret {
			keys[r.ref.Name] = append(keys[r.ref.Name], r.ref.Key)
		}
	}
	for _, key := range credentials.Needed(&l.server.Spec) {
		ownName = render.SecretName(l.server.Name)
		keys[ownName] = append(keys[ownName], key.Name)
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		secret, isOwn := l.Credentials.Secret, name == ownName
		if !isOwn {
			var err error
			if secret, err = get(ctx, l.Cached, l.server.Namespace, name, &corev1.Secret{}); err != nil {
				return "", err
			}
		}
		if secret == nil {
			continue // optional, or the kubelet reports it
		}
		fmt.Fprintf(sum, "%s %s\n", name, credentials.Salt(secret, isOwn))
		for _, key := range withoutAll(keys[name], secret) {
			fmt.Fprintf(sum, "%s %s\n", key, secret.StringData[key])
		}
	}
	if l.bundle != "" {
		fmt.Fprintf(sum, "bundle %s\n", l.bundle)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// withoutAll returns keys, sorted, with those of the Secret in the place of objects.AllKeys.
func withoutAll(keys []string, secret *corev1.Secret) []string {
	if slices.Contains(keys, objects.AllKeys) {
		keys = slices.DeleteFunc(slices.AppendSeq(keys, maps.Keys(secret.StringData)), func(key string) bool { return key == objects.AllKeys })
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
