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

// standIn stands in for a provider, to show faults that a real one does not have. A handler that is nil answers as a
// provider does that knows the client.
type standIn struct {
	*httptest.Server
	caFile string

	discovery, authorize, token http.HandlerFunc
	methods                     []string // token_endpoint_auth_methods_supported

	mu   sync.Mutex
	form map[string]string // of the last request to the token endpoint, with user and password of the header
}

func newStandIn(t testing.TB) *standIn {
	t.Helper()
	p := &standIn{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		or(p.discovery, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, p.document()) })(w, r)
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) { or(p.authorize, loginRequired)(w, r) })
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		p.remember(r)
		or(p.token, oauthError(400, "invalid_grant", ""))(w, r)
	})
	p.Server = httptest.NewUnstartedServer(mux)
	p.Config.ErrorLog = (&journal{}).stdlog()
	p.StartTLS()
	t.Cleanup(p.Close)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	p.caFile = writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), string(block))
	return p
}

func or(handler, otherwise http.HandlerFunc) http.HandlerFunc {
	if handler != nil {
		return handler
	}
	return otherwise
}

func (p *standIn) document() map[string]any {
	return map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize?tenant=1", "token_endpoint": p.URL + "/token",
		"token_endpoint_auth_methods_supported": p.methods, "jwks_uri": p.URL + "/keys",
	}
}

func (p *standIn) with(field string, value any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		d := p.document()
		d[field] = value
		writeJSON(w, 200, d)
	}
}

func (p *standIn) remember(r *http.Request) {
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

// settings are those of a client of this provider.
func (p *standIn) settings(t testing.TB) provider {
	t.Helper()
	folder := t.TempDir()
	return provider{
		Issuer: p.URL, ClientID: "jupyter", ClientSecretFile: writeFile(t, filepath.Join(folder, "secret"), theSecret),
		RedirectURL: "https://jupyter.example.org/alice/oauth2/callback", Scopes: []string{"openid", "email"},
		CAFile: p.caFile, Report: filepath.Join(folder, "provider.json"),
	}
}

const theSecret = "top secret+/%"

// loginRequired is what a provider answers to prompt=none when it knows the client.
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
	elsewhere := newStandIn(t) // with the same certificate
	asked := new(atomic.Int64)
	elsewhere.discovery = func(http.ResponseWriter, *http.Request) { asked.Add(1) }
	for name, test := range map[string]struct {
		reason  string
		change  func(*standIn, *provider)
		want    string // the reason, empty when all is well
		message string // a part of it
	}{
		"right": {"It is there.", func(*standIn, *provider) {}, "", "is there"},
		"slash": {
			"One slash at the end of the issuer is not doubled; it belongs to the issuer all the same.",
			func(s *standIn, p *provider) { p.Issuer += "/"; s.discovery = s.with("issuer", s.URL+"/") }, "", "is there"},
		"slash too many": {
			"The issuers differ, so they are two.",
			func(_ *standIn, p *provider) { p.Issuer += "/" }, providerInvalid, "the issuer URL must be exactly that"},
		"other issuer": {
			"Whoever answers there, it is not the provider.",
			func(s *standIn, _ *provider) { s.discovery = s.with("issuer", "https://evil.example.org\n\u202e") },
			providerInvalid, `calls itself "https://evil.example.org"`},
		"unknown authority": {
			"Its certificate is signed by nobody that is known.",
			func(_ *standIn, p *provider) { p.CAFile = "" }, providerUnreachable, "certificate signed by unknown authority"},
		"other authority": {
			"Or by somebody else than the admin says.",
			func(_ *standIn, p *provider) {
				p.CAFile = writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), newAuthority(t))
			}, providerUnreachable, "certificate signed by unknown authority"},
		"no CA file": {
			"The file is not there.",
			func(_ *standIn, p *provider) { p.CAFile = "/nonexistent/ca.crt" }, providerUnreachable, "/nonexistent/ca.crt"},
		"empty CA file": {
			"Or holds no certificate.",
			func(_ *standIn, p *provider) { p.CAFile = writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), "x") },
			providerUnreachable, "no PEM certificate"},
		"down": {
			"Nobody listens.",
			func(s *standIn, _ *provider) { s.Close() }, providerUnreachable, "connection refused"},
		"no such name": {
			"The name is wrong.",
			func(_ *standIn, p *provider) { p.Issuer = "https://provider.invalid" }, providerUnreachable, "cannot be reached"},
		"503": {
			"It starts.",
			func(s *standIn, _ *provider) { s.discovery = status(503) }, providerUnreachable, "HTTP status 503"},
		"429": {
			"It will answer later.",
			func(s *standIn, _ *provider) { s.discovery = status(429) }, providerUnreachable, "HTTP status 429"},
		"404": {
			"There is something, but no provider.",
			func(s *standIn, _ *provider) { s.discovery = status(404) }, providerInvalid, "HTTP status 404"},
		"HTML": {
			"A page for people is no document.",
			func(s *standIn, _ *provider) { s.discovery = body(200, "<html>") }, providerInvalid, "is not the JSON of one"},
		"endless": {
			"Nobody reads that.",
			func(s *standIn, _ *provider) { s.discovery = body(200, strings.Repeat(" ", maxDocument+1)) }, providerInvalid, "too large"},
		"redirect elsewhere": {
			"Another host is another provider.",
			func(s *standIn, _ *provider) {
				s.discovery = func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
				}
			}, providerInvalid, "HTTP status 302"},
		"redirect at home": {
			"It may move within its host.",
			func(s *standIn, _ *provider) {
				s.discovery = func(w http.ResponseWriter, r *http.Request) {
					if r.URL.RawQuery == "" {
						http.Redirect(w, r, r.URL.Path+"?moved", http.StatusFound)
						return
					}
					writeJSON(w, 200, s.document())
				}
			}, "", "is there"},
		"redirect for ever": {
			"But not for ever.",
			func(s *standIn, _ *provider) {
				s.discovery = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
			}, providerInvalid, "HTTP status 302"},
		"no token endpoint": {
			"Nobody could sign in.",
			func(s *standIn, _ *provider) { s.discovery = s.with("token_endpoint", "") }, providerInvalid, "has no token_endpoint"},
		"no authorization endpoint": {
			"Nor without this one.",
			func(s *standIn, _ *provider) { s.discovery = s.with("authorization_endpoint", "/authorize") },
			providerInvalid, "has no authorization_endpoint"},
		"secret without TLS": {
			"The client's secret would be for all to read.",
			func(s *standIn, _ *provider) { s.discovery = s.with("token_endpoint", "http://example.org/token") },
			providerInvalid, "is not https"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			p := s.settings(t)
			test.change(s, &p)
			got := look(context.Background(), p)
			if got.Reason != test.want || got.OK != (test.want == "") || !strings.Contains(got.Message, test.message) {
				t.Fatalf("%s\ngot  %+v\nwant %s: %s", test.reason, got, test.want, test.message)
			}
			checkSentence(t, got.Message)
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

// checkSentence: one line, printable, without an end that others would have to strip.
func checkSentence(t *testing.T, message string) {
	t.Helper()
	odd := strings.ContainsFunc(message, func(c rune) bool { return !unicode.IsPrint(c) })
	if message == "" || odd || strings.HasSuffix(message, ".") {
		t.Errorf("this is no plain sentence: %q", message)
	}
}

// newAuthority returns the certificate of an authority that signed nothing.
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
	refused := wrong(clientRefused, "it refuses the secret")
	for name, test := range map[string]struct {
		reason   string
		report   *finding
		provider http.HandlerFunc
		signedIn bool
		before   string // the reason before the first look
		after    string // and after it
	}{
		"no report":                 {"Nothing bad is known.", nil, nil, false, "", ""},
		"all is well":               {"So it is.", &finding{OK: true}, nil, false, "", ""},
		"was down":                  {"It may have come up since.", &finding{Reason: providerUnreachable}, nil, false, providerUnreachable, ""},
		"is down":                   {"Or have gone down.", &finding{OK: true}, status(503), false, "", providerUnreachable},
		"refused":                   {"Until somebody signs in.", &refused, nil, false, clientRefused, clientRefused},
		"refused, but signed in":    {"Somebody did.", &refused, nil, true, "", ""},
		"refused, then down":        {"The nearer cause counts.", &refused, status(503), false, clientRefused, providerUnreachable},
		"signed in, but down":       {"New people cannot.", &refused, status(503), true, "", providerUnreachable},
		"signed in, other provider": {"Somebody changed it.", nil, status(404), true, "", providerInvalid},
		"was invalid, is not now":   {"An admin mended it.", &finding{Reason: providerInvalid}, nil, false, providerInvalid, ""},
		"was down, but signed in":   {"What it was does not count.", &finding{Reason: providerUnreachable}, nil, true, providerUnreachable, ""},
		"refused, then failing":     {"An error may pass.", &refused, body(500, "x"), false, clientRefused, providerUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
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
				t.Errorf("%s\nbefore the first look: %+v", test.reason, got)
			}
			w.look(context.Background())
			if got := w.state(); got.Reason != test.after || got.OK != (test.after == "") {
				t.Errorf("%s\nafter the first look: %+v", test.reason, got)
			}
			lines := strings.Count(log.String(), "\n")
			w.look(context.Background())
			if again := strings.Count(log.String(), "\n"); again != lines {
				t.Errorf("the second look logs the same again:\n%s", log.String())
			}
		})
	}
}

func TestWatchSignInClearsTheRefusal(t *testing.T) {
	s := newStandIn(t)
	p := s.settings(t)
	if err := writeReport(p.Report, wrong(clientRefused, "no")); err != nil {
		t.Fatal(err)
	}
	signedIn := new(atomic.Bool)
	w := newWatch(func() provider { return p }, signedIn, (&journal{}).logger())
	w.look(context.Background())
	if got := w.state(); got.Reason != clientRefused || got.Message != "no" {
		t.Fatalf("%+v", got)
	}
	signedIn.Store(true)
	if got := w.state(); !got.OK {
		t.Fatalf("it takes no further look: %+v", got)
	}
}

func TestWatchUnreadableReport(t *testing.T) {
	p := newStandIn(t).settings(t)
	writeFile(t, p.Report, "{")
	var log journal
	w := newWatch(func() provider { return p }, new(atomic.Bool), log.logger())
	if got := w.state(); !got.OK || len(log.lines("the report about the provider cannot be read")) != 1 {
		t.Errorf("%+v\n%s", got, log.String())
	}
}

func TestWatchInterval(t *testing.T) {
	expectNoGoroutinesLeft(t)
	s := newStandIn(t)
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
		t.Errorf("while it is well: %s", d)
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
	for _, want := range []finding{{OK: true, Message: "well"}, wrong(clientRefused, "a %q", "b")} {
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
		t.Errorf("files are left: %v %v", left, hidden)
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
