// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// bundle is one version of one key of a ConfigMap. The informers hold of ConfigMaps the metadata alone, so its content is read
// once for every version, and the digest is remembered.
type bundle struct {
	uid             types.UID
	resourceVersion string
	ref             v1alpha1.KeyRef
	digest          string
}

// bundleRef is the key of a ConfigMap that a spec names, nil where there is none.
func bundleRef(server *v1alpha1.JupyterServer) *v1alpha1.KeyRef {
	if oidc := server.Spec.Auth.OIDC; oidc != nil && oidc.CABundle != nil {
		return &oidc.CABundle.ConfigMapKeyRef
	}
	return nil
}

// bundleDigest is a digest of the certificates that a spec names, "" where it names none.
func (r *Reconciler) bundleDigest(ctx context.Context, server *v1alpha1.JupyterServer) (string, error) {
	ref := bundleRef(server)
	if ref == nil {
		return "", nil
	}
	seen := &metav1.PartialObjectMetadata{}
	seen.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: ref.Name}, seen)
	if apierrors.IsNotFound(err) {
		return "", &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The ConfigMap %s of spec.auth.oidc.caBundle does not exist in the namespace: create it, or correct the name.", ref.Name)}
	}
	if err != nil {
		return "", fmt.Errorf("reading the ConfigMap %s: %w", ref.Name, err)
	}
	key := client.ObjectKeyFromObject(server)
	if last, _ := r.bundles.get(key); last.uid == seen.UID && last.resourceVersion == seen.ResourceVersion && last.ref == *ref {
		return last.digest, nil
	}
	read, err := r.readBundle(ctx, server.Namespace, *ref)
	if err != nil {
		return "", err
	}
	r.bundles.set(key, read)
	return read.digest, nil
}

func (r *Reconciler) readBundle(ctx context.Context, namespace string, ref v1alpha1.KeyRef) (bundle, error) {
	live := &corev1.ConfigMap{}
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, live); err != nil {
		return bundle{}, fmt.Errorf("reading the ConfigMap %s: %w", ref.Name, err)
	}
	content, ok := live.Data[ref.Key]
	if !ok {
		return bundle{}, &blocked{v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("The ConfigMap %s of spec.auth.oidc.caBundle has no key %s: add it, or correct the key.", ref.Name, ref.Key)}
	}
	if err := checkCertificates([]byte(content)); err != nil {
		return bundle{}, &blocked{v1alpha1.ReasonBundleInvalid, sentence(fmt.Sprintf("the key %s of the ConfigMap %s, which spec.auth.oidc.caBundle names, %v: put the certificates there, as PEM", ref.Key, ref.Name, err))}
	}
	return bundle{uid: live.UID, resourceVersion: live.ResourceVersion, ref: ref, digest: digest([]byte(content))}, nil
}

// checkCertificates takes what the authentication plugin would choke on at its start.
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
