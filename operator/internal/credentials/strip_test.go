// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
)

func TestStripSecret(t *testing.T) {
	secret := &corev1.Secret{Data: map[string][]byte{"token": []byte("very-secret"), "empty": nil}}
	if _, err := credentials.Strip(secret); err != nil {
		t.Fatal(err)
	}
	once := maps.Clone(secret.StringData)
	if secret.Data != nil || once["token"] == "" || once["token"] == "very-secret" {
		t.Errorf("the informer would hold the secret: %v %v", secret.Data, once)
	}
	if _, ok := once["empty"]; !ok {
		t.Error("a key without a value is lost")
	}
	if _, err := credentials.Strip(secret); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(once, secret.StringData) {
		t.Errorf("stripping twice gives another digest: %v, then %v", once, secret.StringData)
	}
}
