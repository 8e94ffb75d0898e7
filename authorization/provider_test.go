// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
)

// fakeProvider is a provider with faults that a real one does not have. A nil handler responds like a provider that knows the
// client.
type fakeProvider struct {
	*httptest.Server
	caFile string

	discovery, authorize, token http.HandlerFunc
	methods                     []string // token_endpoint_auth_methods_supported

	mu   sync.Mutex
	form map[string]string // of the last token request, including basic authentication
}

func newFakeProvider(t testing.TB) *fakeProvider {
	t.Helper()
	p := &fakeProvider{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		withDefault(p.discovery, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, p.document()) })(w, r)
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) { withDefault(p.authorize, loginRequired)(w, r) })
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		p.remember(r)
		withDefault(p.token, oauthError(400, "invalid_grant", ""))(w, r)
	})
	p.Server = httptest.NewUnstartedServer(mux)
	p.Config.ErrorLog = (&journal{}).standardLogger()
	p.StartTLS()
	t.Cleanup(p.Close)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	p.caFile = writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), string(block))
	return p
}

func withDefault(handler, otherwise http.HandlerFunc) http.HandlerFunc {
	if handler != nil {
		return handler
	}
	return otherwise
}

func (p *fakeProvider) document() map[string]any {
	return map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize?tenant=1", "token_endpoint": p.URL + "/token",
		"token_endpoint_auth_methods_supported": p.methods, "jwks_uri": p.URL + "/keys",
	}
}

func (p *fakeProvider) with(field string, value any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		d := p.document()
		d[field] = value
		writeJSON(w, 200, d)
	}
}

func (p *fakeProvider) remember(r *http.Request) {
	_ = r.ParseForm()
	form := map[string]string{"method": r.Method, "query": r.URL.RawQuery}
	for name := range r.PostForm {
		form[name] = r.PostForm.Get(name)
	}
	if user, password, found := r.BasicAuth(); found {
		form["basic"] = user + ":" + password
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.form = form
}

// settings returns the configuration of a client of this provider.
func (p *fakeProvider) settings(t testing.TB) provider {
	t.Helper()
	folder := t.TempDir()
	return provider{
		Issuer: p.URL, ClientID: "jupyter", ClientSecretFile: writeFile(t, filepath.Join(folder, "secret"), clientSecret),
		RedirectURL: "https://jupyter.example.org/alice/oauth2/callback", Scopes: []string{"openid", "email"},
		CAFile: p.caFile, Report: filepath.Join(folder, "provider.json"),
	}
}

const clientSecret = "top secret+/%"

// loginRequired is the response to prompt=none of a provider that knows the client.
func loginRequired(w http.ResponseWriter, r *http.Request) { redirectBack("login_required", "")(w, r) }

func redirectBack(code, description string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		back := r.URL.Query().Get("redirect_uri") + "?error=" + code + "&error_description=" + description + "&state=" + r.URL.Query().Get("state")
		http.Redirect(w, r, back, http.StatusFound)
	}
}

func oauthError(code int, word, description string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, code, map[string]string{"error": word, "error_description": description})
	}
}

func body(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text))
	}
}

func TestDiscover(t *testing.T) {
	elsewhere := newFakeProvider(t) // with the same certificate
	requests := new(atomic.Int64)
	elsewhere.discovery = func(http.ResponseWriter, *http.Request) { requests.Add(1) }
	for name, test := range map[string]struct {
		reason  string
		change  func(*fakeProvider, *provider)
		want    string // the reason; empty if the provider works
		message string // a part of the message
	}{
		"right": {"The provider works.", func(*fakeProvider, *provider) {}, "", "is available"},
		"slash": {
			"A trailing slash is not doubled, but is part of the issuer.",
			func(s *fakeProvider, p *provider) { p.Issuer += "/"; s.discovery = s.with("issuer", s.URL+"/") }, "", "is available"},
		"extra slash": {
			"Issuers that differ by a slash are different.",
			func(_ *fakeProvider, p *provider) { p.Issuer += "/" }, providerInvalid, "set the issuer URL to exactly that value"},
		"other issuer": {
			"Another provider responds there.",
			func(s *fakeProvider, _ *provider) { s.discovery = s.with("issuer", "https://evil.example.org\n\u202e") },
			providerInvalid, `reports the issuer "https://evil.example.org"`},
		"unknown authority": {
			"The certificate is signed by an unknown authority.",
			func(_ *fakeProvider, p *provider) { p.CAFile = "" }, providerUnreachable, "certificate signed by unknown authority"},
		"other authority": {
			"The certificate is signed by another than the configured authority.",
			func(_ *fakeProvider, p *provider) {
				p.CAFile = writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), newAuthority(t))
			}, providerUnreachable, "certificate signed by unknown authority"},
		"no CA file": {
			"The file does not exist.",
			func(_ *fakeProvider, p *provider) { p.CAFile = "/nonexistent/ca.crt" }, providerUnreachable, "/nonexistent/ca.crt"},
		"empty CA file": {
			"The file contains no certificate.",
			func(_ *fakeProvider, p *provider) { p.CAFile = writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), "x") },
			providerUnreachable, "no PEM certificate"},
		"down": {
			"The port is closed.",
			func(s *fakeProvider, _ *provider) { s.Close() }, providerUnreachable, "connection refused"},
		"no such name": {
			"The host does not exist.",
			func(_ *fakeProvider, p *provider) { p.Issuer = "https://provider.invalid" }, providerUnreachable, "cannot be reached"},
		"503": {
			"The provider is starting.",
			func(s *fakeProvider, _ *provider) { s.discovery = status(503) }, providerUnreachable, "HTTP status 503"},
		"429": {
			"The provider limits the rate.",
			func(s *fakeProvider, _ *provider) { s.discovery = status(429) }, providerUnreachable, "HTTP status 429"},
		"404": {
			"Another service responds there.",
			func(s *fakeProvider, _ *provider) { s.discovery = status(404) }, providerInvalid, "HTTP status 404"},
		"HTML": {
			"An HTML page is not provider metadata.",
			func(s *fakeProvider, _ *provider) { s.discovery = body(200, "<html>") }, providerInvalid, "is not a JSON object"},
		"endless": {
			"The size is limited.",
			func(s *fakeProvider, _ *provider) { s.discovery = body(200, strings.Repeat(" ", maxDocument+1)) }, providerInvalid, "too large"},
		"redirect elsewhere": {
			"Another host is a different provider.",
			func(s *fakeProvider, _ *provider) {
				s.discovery = func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
				}
			}, providerInvalid, "HTTP status 302"},
		"redirect to the same origin": {
			"Redirects within the origin are followed.",
			func(s *fakeProvider, _ *provider) {
				s.discovery = func(w http.ResponseWriter, r *http.Request) {
					if r.URL.RawQuery == "" {
						http.Redirect(w, r, r.URL.Path+"?moved", http.StatusFound)
						return
					}
					writeJSON(w, 200, s.document())
				}
			}, "", "is available"},
		"endless redirects": {
			"The number of redirects is limited.",
			func(s *fakeProvider, _ *provider) {
				s.discovery = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
			}, providerInvalid, "HTTP status 302"},
		"no token endpoint": {
			"Users could not sign in.",
			func(s *fakeProvider, _ *provider) { s.discovery = s.with("token_endpoint", "") }, providerInvalid, "has no token_endpoint"},
		"no authorization endpoint": {
			"Users could not sign in without this endpoint.",
			func(s *fakeProvider, _ *provider) { s.discovery = s.with("authorization_endpoint", "/authorize") },
			providerInvalid, "has no authorization_endpoint"},
		"secret without TLS": {
			"The client's secret would be sent in the clear.",
			func(s *fakeProvider, _ *provider) { s.discovery = s.with("token_endpoint", "http://example.org/token") },
			providerInvalid, "is not https"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeProvider(t)
			p := s.settings(t)
			test.change(s, &p)
			got := checkProvider(context.Background(), p)
			if got.Reason != test.want || got.OK != (test.want == "") || !strings.Contains(got.Message, test.message) {
				t.Fatalf("%s\ngot  %+v\nwant %s: %s", test.reason, got, test.want, test.message)
			}
			checkSentence(t, got.Message)
		})
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("another host got %d requests", n)
	}
}

// checkSentence checks that a message is one printable line without a full stop.
func checkSentence(t *testing.T, message string) {
	t.Helper()
	odd := strings.ContainsFunc(message, func(c rune) bool { return !unicode.IsPrint(c) })
	if message == "" || odd || strings.HasSuffix(message, ".") {
		t.Errorf("not one plain sentence: %q", message)
	}
}

// newAuthority returns the certificate of an unrelated authority.
func newAuthority(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func TestWatchMergesTheReport(t *testing.T) {
	rejected := failure(clientRefused, "the secret is rejected")
	for name, test := range map[string]struct {
		reason   string
		report   *finding
		provider http.HandlerFunc
		signedIn bool
		before   string // the reason before the first poll
		after    string // the reason after the first poll
	}{
		"no report":                 {"No problem is known.", nil, nil, false, "", ""},
		"all is well":               {"The provider works.", &finding{OK: true}, nil, false, "", ""},
		"was down":                  {"The provider may have come up since.", &finding{Reason: providerUnreachable}, nil, false, providerUnreachable, ""},
		"is down":                   {"The provider may have gone down since.", &finding{OK: true}, status(503), false, "", providerUnreachable},
		"refused":                   {"The report counts until a user signs in.", &rejected, nil, false, clientRefused, clientRefused},
		"refused, but signed in":    {"A sign-in clears the report.", &rejected, nil, true, "", ""},
		"refused, then down":        {"The current cause counts.", &rejected, status(503), false, clientRefused, providerUnreachable},
		"signed in, but down":       {"New users cannot sign in.", &rejected, status(503), true, "", providerUnreachable},
		"signed in, other provider": {"The provider changed.", nil, status(404), true, "", providerInvalid},
		"was invalid, is not now":   {"The provider was fixed.", &finding{Reason: providerInvalid}, nil, false, providerInvalid, ""},
		"was down, but signed in":   {"The old report does not count.", &finding{Reason: providerUnreachable}, nil, true, providerUnreachable, ""},
		"refused, then failing":     {"An error may be temporary.", &rejected, body(500, "x"), false, clientRefused, providerUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeProvider(t)
			s.discovery = test.provider
			p := s.settings(t)
			if test.report != nil {
				if err := writeReport(p.Report, *test.report); err != nil {
					t.Fatal(err)
				}
			}
			var log journal
			signedIn := new(atomic.Bool)
			signedIn.Store(test.signedIn)
			w := newWatch(func() provider { return p }, signedIn, log.logger())
			if got := w.state(); got.Reason != test.before || got.OK != (test.before == "") {
				t.Errorf("%s\nbefore the first poll: %+v", test.reason, got)
			}
			w.poll(context.Background())
			if got := w.state(); got.Reason != test.after || got.OK != (test.after == "") {
				t.Errorf("%s\nafter the first poll: %+v", test.reason, got)
			}
			lines := strings.Count(log.String(), "\n")
			w.poll(context.Background())
			if again := strings.Count(log.String(), "\n"); again != lines {
				t.Errorf("the second poll logged the same again:\n%s", log.String())
			}
		})
	}
}

func TestWatchSignInClearsTheRefusal(t *testing.T) {
	s := newFakeProvider(t)
	p := s.settings(t)
	if err := writeReport(p.Report, failure(clientRefused, "no")); err != nil {
		t.Fatal(err)
	}
	signedIn := new(atomic.Bool)
	w := newWatch(func() provider { return p }, signedIn, (&journal{}).logger())
	w.poll(context.Background())
	if got := w.state(); got.Reason != clientRefused || got.Message != "no" {
		t.Fatalf("%+v", got)
	}
	signedIn.Store(true)
	if got := w.state(); !got.OK {
		t.Fatalf("a sign-in did not clear the report: %+v", got)
	}
}

func TestWatchUnreadableReport(t *testing.T) {
	p := newFakeProvider(t).settings(t)
	writeFile(t, p.Report, "{")
	var log journal
	w := newWatch(func() provider { return p }, new(atomic.Bool), log.logger())
	if got := w.state(); !got.OK || len(log.lines("reading the report about the provider failed")) != 1 {
		t.Errorf("%+v\n%s", got, log.String())
	}
}

func TestWatchInterval(t *testing.T) {
	expectNoGoroutinesLeft(t)
	s := newFakeProvider(t)
	s.discovery = status(503)
	p := s.settings(t)
	var log journal
	w := newWatch(func() provider { return p }, new(atomic.Bool), log.logger())
	waits, wake := make(chan time.Duration), make(chan time.Time)
	w.after = func(d time.Duration) <-chan time.Time {
		waits <- d
		return wake
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	if d := <-waits; d < 9*time.Second || d > 11*time.Second {
		t.Errorf("while it is down: %s", d)
	}
	if got := w.state(); got.Reason != providerUnreachable {
		t.Errorf("%+v", got)
	}
	s.discovery = nil // the goroutine waits
	wake <- time.Time{}
	if d := <-waits; d < 54*time.Second || d > 66*time.Second {
		t.Errorf("while it works: %s", d)
	}
	if got := w.state(); !got.OK {
		t.Errorf("%+v", got)
	}
	stop()
	<-done
	if len(log.lines("the provider does not work")) != 1 || len(log.lines("the provider works again")) != 1 {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "provider.json")
	for _, want := range []finding{{OK: true, Message: "well"}, failure(clientRefused, "a %q", "b")} {
		if err := writeReport(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := readReport(path); err != nil || got != want {
			t.Errorf("%+v %v", got, err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if len(left)+len(hidden) != 1 {
		t.Errorf("leftover files: %v %v", left, hidden)
	}
	raw, err := readFile(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil || len(fields) != 3 {
		t.Errorf("%s", raw)
	}
}
