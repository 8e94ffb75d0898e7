// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/provider"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/signin"
)

// ownProvider starts a provider for this test only, at an address of this machine that pods reach, and returns the section auth of a
// server that uses it.
func (w *world) ownProvider(certificate *tls.Certificate, client provider.Client) (*provider.Provider, string) {
	w.Helper()
	w.needsProvider()
	host := mustParse(w.T, suite.issuer).Hostname()
	client.AllowRedirect = func(u *url.URL) bool { return u.Hostname() == w.host() }
	p, err := provider.New(provider.Options{Listen: net.JoinHostPort(host, "0"), Certificate: certificate, Users: provider.DemoUsers(), Clients: []provider.Client{client}})
	if err != nil {
		w.Fatal(err)
	}
	if err := p.Start(w.ctx); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(p.Close)
	return p, fmt.Sprintf(`
auth: {mode: oidc, oidc: {issuerUrl: %q, clientId: %s, allow: {users: [alice]}}}
storage: {ephemeral: true}
`, p.Issuer(), client.ID)
}

// The provider is down for a while.
func TestProviderIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, auth := w.ownProvider(nil, provider.Client{ID: "test", Secret: "secret-of-the-test"})
	w.clientSecret("secret-of-the-test")
	w.apply("alice", auth, `auth: {oidc: {clientSecret: {secretKeyRef: {name: client, key: secret}}}}`)
	server := w.running("alice")
	agent, client := w.enter(server, "alice")
	kernel, err := client.StartKernel(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Execute(w.ctx, kernel, "x = 40"); err != nil {
		t.Fatal(err)
	}

	own.Close()
	w.hasMessage("alice", 2*time.Minute, own.Issuer(), "cannot be reached")
	if server := w.running("alice"); server.Status.URL == "" {
		t.Error("the server is no longer running")
	}
	w.eventually("a new user gets a clear page", 2*time.Minute, func() error { return w.failsClearly(server, own) })
	if out, err := client.Execute(w.ctx, kernel, "x + 2"); err != nil || out.Result != "42" {
		t.Errorf("the running kernel returns %q, %v", out.Result, err)
	}
	if got := w.request(agent, http.MethodGet, server.Status.URL+"api/status", nil).Status; got != http.StatusOK {
		t.Errorf("a signed-in user gets HTTP status %d", got)
	}
	w.checkDenied(server, w.visitor(), "an anonymous client", w.request(w.visitor(), http.MethodGet, server.Status.URL+"lab", http.Header{"Accept": {"text/html"}}).Status, http.StatusUnauthorized)

	if err := own.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.hasMessage("alice", 2*time.Minute)
	w.eventually("users can sign in again", 2*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(w.ctx, soon)
		defer cancel()
		page, err := w.visitor().SignIn(ctx, server.Status.URL, "alice", "alice")
		if err == nil && page.Status != http.StatusOK {
			err = fmt.Errorf("HTTP status %d", page.Status)
		}
		return err
	})
}

// failsClearly returns an error unless a user who is not signed in sees that the provider is down: from the browser, which cannot
// open its page, or from the plugin's error page.
func (w *world) failsClearly(server *v1alpha1.JupyterServer, own *provider.Provider) error {
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	agent := w.visitor()
	first, err := agent.Ask(ctx, http.MethodGet, server.Status.URL+"lab", http.Header{"Accept": {"text/html"}})
	if err != nil {
		return err
	}
	if location := first.Header.Get("Location"); first.Status == http.StatusFound && strings.HasPrefix(location, own.Issuer()) {
		// The plugin has cached the provider. The callback with an invalid code results in the plugin's error page.
		return w.callbackFails(ctx, server, agent, location)
	}
	if first.Status < 500 || len(first.Body) < 20 {
		return fmt.Errorf("HTTP status %d: %.200s", first.Status, first.Body)
	}
	return nil
}

func (w *world) callbackFails(ctx context.Context, server *v1alpha1.JupyterServer, agent *signin.Agent, location string) error {
	query := mustParse(w.T, location).Query()
	back := server.Status.URL + "oauth2/callback?" + url.Values{"code": {"made-up"}, "state": {query.Get("state")}}.Encode()
	page, err := agent.Ask(ctx, http.MethodGet, back, http.Header{"Accept": {"text/html"}})
	if err != nil {
		return err
	}
	if page.Status < 400 || len(page.Body) < 20 {
		return fmt.Errorf("the callback returns HTTP status %d: %.200s", page.Status, page.Body)
	}
	return nil
}

// The message reports that the provider rejects the client, and is cleared when it accepts it.
func TestRejectedClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, auth := w.ownProvider(nil, provider.Client{ID: "test", Secret: "the-right-secret-of-the-test"})
	w.clientSecret("a-wrong-secret-of-the-test")
	secret := `auth: {oidc: {clientSecret: {secretKeyRef: {name: client, key: secret}}}}`
	w.apply("alice", auth, secret)
	w.failed("alice", "rejects the secret of the client")
	w.clientSecret("the-right-secret-of-the-test") // replaces the pod
	server := w.running("alice")
	w.enter(server, "alice")
	if server.Status.Message != "" {
		t.Errorf("the message is not cleared: %s", server.Status.Message)
	}
	w.apply("alice", auth, secret, `auth: {oidc: {clientId: unknown-client}}`)
	w.failed("alice", "unknown-client", own.Issuer())
}

func TestInvalidProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needsProvider()
	host := mustParse(t, suite.issuer).Hostname()
	w.apply("alice", fmt.Sprintf(`{storage: {ephemeral: true}, auth: {mode: oidc, oidc: {issuerUrl: "http://%s:9", clientId: x, allow: {users: [alice]}}}}`, host))
	w.hasMessage("alice", start, "http://"+host+":9", "cannot be reached")
	// Another issuer responds there.
	w.apply("bob", fmt.Sprintf(`{storage: {ephemeral: true}, auth: {mode: oidc, oidc: {issuerUrl: %q, clientId: x, allow: {users: [alice]}}}}`, suite.issuer+"/realms/none"))
	w.hasMessage("bob", start, suite.issuer+"/realms/none")
}

// A public client at a provider with TLS and a private CA.
func TestPublicClientAndPrivateCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needsProvider()
	right, rightPEM := certificateFor(t, mustParse(t, suite.issuer).Hostname())
	_, wrongPEM := certificateFor(t, mustParse(t, suite.issuer).Hostname())
	own, auth := w.ownProvider(&right, provider.Client{ID: "public"})
	bundle := func(text string) {
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.tryApply(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: bundle}, data: {ca.crt: %s}}`, raw)); err != nil {
			t.Fatal(err)
		}
	}
	bundle(wrongPEM)
	w.apply("alice", auth, `auth: {oidc: {caBundle: {configMapKeyRef: {name: bundle, key: ca.crt}}}}`)
	w.hasMessage("alice", start, own.Issuer(), "certificate")
	bundle(rightPEM) // replaces the pod
	server := w.await("alice", "is running without a message", start, func(s *v1alpha1.JupyterServer) error {
		if s.Status.Message != "" {
			return errors.New("the message is not empty")
		}
		return isRunning(s)
	})
	_, client := w.enter(server, "alice")
	if got := w.cell(client, "6*7").Result; got != "42" {
		t.Errorf("6*7 is %q, want 42", got)
	}
}

// certificateFor returns a self-signed certificate.
func certificateFor(t *testing.T, host string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "provider of a test"}, IPAddresses: []net.IP{net.ParseIP(host)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// lifetimes match the session lifetimes in the plugins' configurations, in JSON.
var lifetimes = map[*regexp.Regexp]string{
	regexp.MustCompile(`cookie_expire = \\"12h\\"`):        `cookie_expire = \"20s\"`,
	regexp.MustCompile(`OIDCSessionMaxDuration \d+`):       `OIDCSessionMaxDuration 20`,
	regexp.MustCompile(`OIDCSessionInactivityTimeout \d+`): `OIDCSessionInactivityTimeout 20`,
}

// shortSessions returns the operator's configuration with a shorter lifetime of sessions.
func (w *world) shortSessions() string {
	w.Helper()
	text := w.kubectl("-n", operatorNamespace, "get", "configmap", operatorDeployment, "-o", `jsonpath={.data.config\.yaml}`)
	var cfg map[string]any
	if err := yaml.Unmarshal([]byte(text), &cfg); err != nil {
		w.Fatal(err)
	}
	access := cfg["access"].(map[string]any)
	if profiles, _ := access["profiles"].([]any); len(profiles) == 0 {
		raw, err := os.ReadFile("../../postrender/profiles/oauth2-proxy.yaml")
		if err != nil {
			w.Fatal(err)
		}
		var builtIn any
		if err := yaml.Unmarshal(raw, &builtIn); err != nil {
			w.Fatal(err)
		}
		access["profiles"] = []any{builtIn}
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		w.Fatal(err)
	}
	shorter := string(raw)
	for line, other := range lifetimes {
		shorter = line.ReplaceAllString(shorter, other)
	}
	if shorter == string(raw) {
		w.Fatal("no session lifetime found")
	}
	file := filepath.Join(w.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(shorter), 0o600); err != nil {
		w.Fatal(err)
	}
	return file
}

// renderAndApply creates a server like the operator with another configuration, but without the operator, whose rules do not allow
// changing the access control of one server.
func (w *world) renderAndApply(config, manifest string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, start)
	defer cancel()
	objects, err := w.tryRun(ctx, manifest, "go", "-C", "../..", "run", "./operator", "render", "-f", "-", "--namespace", w.namespace, "--config", config)
	if err != nil {
		w.Fatal(err)
	}
	key := make([]byte, 32)
	rand.Read(key)
	secret := fmt.Sprintf("---\n{apiVersion: v1, kind: Secret, metadata: {name: alice-jupyter}, stringData: {cookie-secret: %s}}\n", base64.RawURLEncoding.EncodeToString(key))
	if err := w.tryApply(objects + secret); err != nil {
		w.Fatal(err)
	}
	w.kubectl("rollout", "status", "statefulset/alice", "--timeout=2m")
}

// With an expired session, scripts and WebSockets get 401, pages redirect to the provider, and no state is lost.
func TestExpiredSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.renderAndApply(w.shortSessions(), w.manifest("alice", w.oidc("{users: [alice]}")...))
	server := &v1alpha1.JupyterServer{Status: v1alpha1.JupyterServerStatus{URL: "http://" + w.host() + ":8000/alice/"}}
	agent, client := w.enter(server, "alice")
	kernel, err := client.StartKernel(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Execute(w.ctx, kernel, "x = 42"); err != nil {
		t.Fatal(err)
	}
	w.eventually("the session expires", time.Minute, func() error {
		if got := w.request(agent, http.MethodGet, server.Status.URL+"api/status", nil).Status; got != http.StatusUnauthorized {
			return fmt.Errorf("HTTP status %d", got)
		}
		return nil
	})
	w.checkDenied(server, agent, "an expired session", http.StatusFound, http.StatusUnauthorized)
	if _, err := client.Execute(w.ctx, kernel, "x"); jupyter.Code(err) != http.StatusUnauthorized {
		t.Errorf("the WebSocket of the user's kernel: %v, want HTTP status 401", err)
	}
	w.signInAgain(agent, server.Status.URL, "alice")
	if out, err := w.jupyterOf(server, agent).Execute(w.ctx, kernel, "x"); err != nil || out.Result != "42" {
		t.Errorf("after signing in again the kernel returns %q, %v", out.Result, err)
	}
}
