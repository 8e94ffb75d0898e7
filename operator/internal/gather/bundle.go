// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
)

// bundle is one version of one key of a ConfigMap. The informers hold only the metadata of ConfigMaps, so the content is read
// once for each version, and its digest is remembered.
type bundle struct {
	uid             types.UID
	resourceVersion string
	ref             v1alpha1.KeyRef
	digest          string
}

// BundleRef returns the key of a ConfigMap that a spec names, or nil.
func BundleRef(server *v1alpha1.JupyterServer) *v1alpha1.KeyRef {
	if oidc := server.Spec.Auth.OIDC; oidc != nil && oidc.CABundle != nil {
		return &oidc.CABundle.ConfigMapKeyRef
	}
	return nil
}

// bundleDigest returns a digest of the certificates that a spec names, or "".
func (g *Gatherer) bundleDigest(ctx context.Context, server *v1alpha1.JupyterServer, memo *Memo) (string, *reconcile.Problem, error) {
	ref := BundleRef(server)
	if ref == nil {
		return "", nil, nil
	}
	seen := &metav1.PartialObjectMetadata{}
	seen.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	seen, err := get(ctx, g.Cached, server.Namespace, ref.Name, seen)
	if err != nil {
		return "", nil, err
	}
	if seen == nil {
		return "", notFound("The ConfigMap %s of spec.auth.oidc.caBundle does not exist in the namespace: create it, or correct the name.", ref.Name), nil
	}
	if last := memo.bundle; last.uid == seen.UID && last.resourceVersion == seen.ResourceVersion && last.ref == *ref {
		return last.digest, nil, nil
	}
	read, problem, err := g.readBundle(ctx, server.Namespace, *ref)
	if problem != nil || err != nil {
		return "", problem, err
	}
	memo.bundle = read
	return read.digest, nil, nil
}

func (g *Gatherer) readBundle(ctx context.Context, namespace string, ref v1alpha1.KeyRef) (bundle, *reconcile.Problem, error) {
	live := &corev1.ConfigMap{}
	if err := g.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, live); err != nil {
		return bundle{}, nil, fmt.Errorf("reading the ConfigMap %s: %w", ref.Name, err)
	}
	content, ok := live.Data[ref.Key]
	if !ok {
		return bundle{}, notFound("The ConfigMap %s of spec.auth.oidc.caBundle has no key %s: add it, or correct the key.", ref.Name, ref.Key), nil
	}
	if err := checkCertificates([]byte(content)); err != nil {
		return bundle{}, reconcile.NewProblem(v1alpha1.ReasonBundleInvalid,
			fmt.Sprintf("the key %s of the ConfigMap %s, which spec.auth.oidc.caBundle names, %v: put the certificates there, as PEM", ref.Key, ref.Name, err)), nil
	}
	return bundle{uid: live.UID, resourceVersion: live.ResourceVersion, ref: ref, digest: credentials.Digest([]byte(content))}, nil, nil
}

// checkCertificates rejects what the authentication plugin would fail on at its start.
func checkCertificates(text []byte) error {
	count := 0
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("holds a certificate that cannot be read (%w)", err)
		}
		count++
	}
	if count == 0 {
		return fmt.Errorf("holds no certificate")
	}
	return nil
}
