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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// resolve checks that what the spec refers to exists, digests what the pod reads only at its start, and plans the credentials
// Secret. It returns the first problem.
func (g *Gatherer) resolve(ctx context.Context, server *v1alpha1.JupyterServer, memo *Memo, f *Facts) (*reconcile.Problem, error) {
	if problem, err := g.checkClaim(ctx, server); problem != nil || err != nil {
		return problem, err
	}
	for _, named := range namedKeys(server) {
		if problem, err := g.checkKey(ctx, server.Namespace, named); problem != nil || err != nil {
			return problem, err
		}
	}
	digest, problem, err := g.bundleDigest(ctx, server, memo)
	if problem != nil || err != nil {
		return problem, err
	}
	f.bundle = digest
	if f.Credentials, err = g.planCredentials(ctx, server, f); err != nil {
		return reconcile.ProblemOf(err), retryable(err)
	}
	f.References, err = g.ReferencesOf(ctx, server, *f, f.Credentials.Secret)
	return nil, err
}

// retryable returns an error unless it is a problem of the spec.
func retryable(err error) error {
	if reconcile.ProblemOf(err) != nil {
		return nil
	}
	return err
}

// planCredentials plans the credentials Secret for the spec. An inline value that the spec no longer holds is dropped once no
// rollback needs it. A spec that names the Secret may mean any key of it.
func (g *Gatherer) planCredentials(ctx context.Context, server *v1alpha1.JupyterServer, f *Facts) (credentials.Plan, error) {
	secret, err := g.credentialsSecret(ctx, server)
	if err != nil {
		return credentials.Plan{}, err
	}
	unreported := server.Status.ObservedGeneration != server.Generation
	c := f.Current
	mayRollBack := c != nil && (c.RolledBack != nil || f.Upgrades.Rollback && (unreported || c.GoodRevision != c.Revision))
	return credentials.NewPlan(credentials.Request{
		Ref:   RefOf(server, f.Current),
		Have:  secret,
		Keys:  credentials.Needed(&server.Spec),
		Reads: f.readKeys(),
		Drops: !mayRollBack && !slices.Contains(SecretNames(server), render.SecretName(server.Name)),
	})
}

// PlanRestore plans what the pod reads of the credentials Secret and was deleted, for a server whose spec is not followed: without
// it the pod could not start again. It overwrites nothing. Specs may name a Secret of this name that a user created.
func (g *Gatherer) PlanRestore(ctx context.Context, server *v1alpha1.JupyterServer, f Facts) (credentials.Plan, error) {
	reads := f.readKeys()
	if len(reads) == 0 {
		return credentials.Plan{}, nil
	}
	secret, err := g.credentialsSecret(ctx, server)
	if err != nil {
		return credentials.Plan{}, err
	}
	ref := RefOf(server, f.Current)
	if secret != nil && !credentials.IsOwn(ref, secret) {
		return credentials.Plan{}, nil
	}
	name, given := render.SecretName(server.Name), namedKeys(server)
	missing := slices.DeleteFunc(slices.Clone(reads), func(key string) bool {
		return secret != nil && credentials.HasValue(secret, key) ||
			slices.ContainsFunc(given, func(k namedKey) bool { return k.ref == v1alpha1.KeyRef{Name: name, Key: key} })
	})
	specIsReleased := f.Current != nil && f.Current.Generation == server.Generation
	return credentials.NewPlan(credentials.Request{
		Ref: ref, Have: secret, Keys: credentials.Restorable(&server.Spec, specIsReleased, missing), Reads: reads, Restores: true,
	})
}

func (g *Gatherer) credentialsSecret(ctx context.Context, server *v1alpha1.JupyterServer) (*corev1.Secret, error) {
	return get(ctx, g.Cached, server.Namespace, render.SecretName(server.Name), &corev1.Secret{})
}

// readKeys returns the keys of the credentials Secret that the pod reads, by the StatefulSet in the cluster.
func (f *Facts) readKeys() []string {
	if f.StatefulSet == nil {
		return nil
	}
	return objects.ReadKeys(f.StatefulSet)
}

func (g *Gatherer) checkClaim(ctx context.Context, server *v1alpha1.JupyterServer) (*reconcile.Problem, error) {
	name := server.Spec.Storage.ExistingClaim
	if name == "" {
		return nil, nil
	}
	claim, err := get(ctx, g.Cached, server.Namespace, name, &corev1.PersistentVolumeClaim{})
	if err != nil {
		return nil, err
	}
	if claim == nil {
		return notFound("The PVC %s of spec.storage.existingClaim does not exist in the namespace: create it, or correct the name.", name), nil
	}
	if owner := metav1.GetControllerOf(claim); owner != nil && objects.IsServer(*owner) {
		return &reconcile.Problem{Reason: v1alpha1.ReasonClaimOwned, Message: fmt.Sprintf("The PVC %s of spec.storage.existingClaim belongs to the JupyterServer %s and would be deleted with it: remove existingClaim, or set storage.retain on that server and delete it first.", name, owner.Name)}, nil
	}
	return nil, nil
}

func notFound(format string, args ...any) *reconcile.Problem {
	return &reconcile.Problem{Reason: v1alpha1.ReasonReferenceNotFound, Message: fmt.Sprintf(format, args...)}
}

// namedKey is a key of a Secret that the spec names.
type namedKey struct {
	field, what string
	ref         v1alpha1.KeyRef
}

// namedKeys returns the Secret keys that authentication needs. Keys used in env are left to the kubelet to check.
func namedKeys(server *v1alpha1.JupyterServer) []namedKey {
	auth := server.Spec.Auth
	switch {
	case auth.Mode == v1alpha1.AuthModeToken && auth.Token != nil && auth.Token.SecretKeyRef != nil:
		return []namedKey{{"spec.auth.token.secretKeyRef", "a token", *auth.Token.SecretKeyRef}}
	case auth.Mode == v1alpha1.AuthModeOIDC && auth.OIDC.ClientSecret != nil && auth.OIDC.ClientSecret.SecretKeyRef != nil:
		return []namedKey{{"spec.auth.oidc.clientSecret.secretKeyRef", "the client secret", *auth.OIDC.ClientSecret.SecretKeyRef}}
	}
	return nil
}

func (g *Gatherer) checkKey(ctx context.Context, namespace string, named namedKey) (*reconcile.Problem, error) {
	ref := named.ref
	secret, err := get(ctx, g.Cached, namespace, ref.Name, &corev1.Secret{})
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return notFound("The Secret %s of %s does not exist in the namespace: create it, or correct the name.", ref.Name, named.field), nil
	}
	if _, ok := secret.StringData[ref.Key]; !ok {
		return notFound("The Secret %s of %s has no key %s: add it, or correct the key.", ref.Name, named.field, ref.Key), nil
	}
	if !credentials.HasValue(secret, ref.Key) {
		return notFound("The key %s of the Secret %s is empty: put %s there.", ref.Key, ref.Name, named.what), nil
	}
	return nil, nil
}

// ReferencesOf digests what the pod reads only at its start: the Secrets of the access control, of env and of envFrom, and the
// certificates. The digest is salted, so that a weak secret cannot be guessed from the pod's annotation. Own is the credentials
// Secret as it is, or will be.
func (g *Gatherer) ReferencesOf(ctx context.Context, server *v1alpha1.JupyterServer, f Facts, own *corev1.Secret) (render.References, error) {
	keys := environmentKeys(server)
	for _, named := range namedKeys(server) {
		keys[named.ref.Name] = append(keys[named.ref.Name], named.ref.Key)
	}
	needed := credentials.Needed(&server.Spec)
	ownName := ""
	if len(needed) > 0 {
		ownName = render.SecretName(server.Name)
	}
	for _, key := range needed {
		keys[ownName] = append(keys[ownName], key.Name)
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		secret, isOwn := own, name == ownName
		if !isOwn {
			var err error
			if secret, err = get(ctx, g.Cached, server.Namespace, name, &corev1.Secret{}); err != nil {
				return render.References{}, err
			}
		}
		if secret == nil {
			continue // optional, or the kubelet reports it
		}
		fmt.Fprintf(sum, "%s %s\n", name, credentials.Salt(secret, isOwn))
		for _, key := range selectedKeys(secret, keys[name]) {
			fmt.Fprintf(sum, "%s %s\n", key, secret.StringData[key])
		}
	}
	if f.bundle != "" {
		fmt.Fprintf(sum, "bundle %s\n", f.bundle)
	}
	return render.References{SecretsChecksum: hex.EncodeToString(sum.Sum(nil)[:16])}, nil
}

// environmentKeys returns the Secrets, and their keys, that env and envFrom of the Jupyter container name.
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
			keys[from.SecretRef.Name] = append(keys[from.SecretRef.Name], objects.AllKeys)
		}
	}
	return keys
}

// selectedKeys returns the wanted keys, sorted, each once.
func selectedKeys(secret *corev1.Secret, wanted []string) []string {
	selected := slices.Clone(wanted)
	if slices.Contains(wanted, objects.AllKeys) {
		selected = slices.DeleteFunc(selected, func(key string) bool { return key == objects.AllKeys })
		selected = slices.AppendSeq(selected, maps.Keys(secret.StringData))
	}
	slices.Sort(selected)
	return slices.Compact(selected)
}

// SecretNames returns the Secrets that a spec names.
func SecretNames(server *v1alpha1.JupyterServer) []string {
	keys := environmentKeys(server)
	for _, named := range namedKeys(server) {
		keys[named.ref.Name] = nil
	}
	return slices.Sorted(maps.Keys(keys))
}
