// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"maps"
	"strings"
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

func TestFault(t *testing.T) {
	tests := []struct {
		reason, value, want string
	}{
		{"a token", "c0ffee-_.~!", ""},
		{"a line break, as echo adds one", "c0ffee\n", credentials.SpaceFault},
		{"a line break of Windows", "c0ffee\r\n", credentials.SpaceFault},
		{"a blank at the start", " c0ffee", credentials.SpaceFault},
		{"a blank that is not ASCII", "c0ffee\u00a0", credentials.SpaceFault},
		{"a byte order mark", "\ufeffc0ffee", credentials.SpaceFault},
		{"nothing but a line break", "\n", credentials.SpaceFault},
		{"two lines", "c0f\nfee", credentials.CharacterFault},
		{"a blank inside", "c0f fee", credentials.CharacterFault},
		{"an umlaut", "gehört", credentials.CharacterFault},
		{"not UTF-8", "c0\xff", credentials.CharacterFault},
		{"a certificate is no token", strings.Repeat("c0f fee\n", 200), ""},
	}
	for _, test := range tests {
		secret := &corev1.Secret{Data: map[string][]byte{"token": []byte(test.value), "fine": []byte("x"), "token2": []byte("y\n")}}
		secret.Annotations = map[string]string{"jupyterserver.dev/faults": "fine=space", "large": "text"}
		for range 2 { // informers may transform an object twice
			if _, err := credentials.Strip(secret); err != nil {
				t.Fatal(err)
			}
		}
		if got := credentials.Fault(secret, "token"); got != test.want {
			t.Errorf("%s: %q, want %q", test.reason, got, test.want)
		}
		if credentials.Fault(secret, "fine") != "" || len(secret.Annotations) > 1 {
			t.Errorf("%s: annotations %v", test.reason, secret.Annotations)
		}
	}
}
