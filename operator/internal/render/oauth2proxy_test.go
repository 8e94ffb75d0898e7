// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build oauth2proxy

package render_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestOAuth2ProxyAcceptsTheConfigurations runs oauth2-proxy at the path E2E_OAUTH2_PROXY with every configuration of the golden files
// (`make test-oauth2-proxy`). Only the paths of the mounted files differ.
func TestOAuth2ProxyAcceptsTheConfigurations(t *testing.T) {
	program := os.Getenv("E2E_OAUTH2_PROXY")
	if program == "" {
		t.Fatal("E2E_OAUTH2_PROXY is not set: set it to the path of oauth2-proxy")
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range strings.Split(section(archive, "manifest.yaml"), "\n---\n") {
			var object corev1.ConfigMap
			if yaml.Unmarshal([]byte(document), &object) != nil || object.Data["oauth2-proxy.cfg"] == "" {
				continue
			}
			tried++
			t.Run(filepath.Base(file), func(t *testing.T) { accepts(t, program, object.Data["oauth2-proxy.cfg"]) })
		}
	}
	if tried < 3 {
		t.Errorf("only %d configurations were found", tried)
	}
}

func accepts(t *testing.T, program, configuration string) {
	t.Helper()
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	configuration = strings.NewReplacer(
		"/etc/authentication-secrets/cookie-secret", write("cookie-secret", "VrCtR6jJWu6iZpPiDFnN6hRMPmCSmZ0aDyFRBL4mZtM"),
		"/etc/authentication-secrets/client-secret", write("client-secret", "secret"),
		"/etc/authentication-ca/ca.crt", write("ca.crt", certificate(t)),
	).Replace(configuration)
	out, err := exec.CommandContext(t.Context(), program, "--config-test", "--config="+write("oauth2-proxy.cfg", configuration)).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nin\n%s", err, out, configuration)
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}
