// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		reason  string
		change  func(*standIn, *provider)
		want    string
		message []string // parts of it
	}{
		"known": {
			"It misses the person, and then the code: so it knows the client.",
			func(*standIn, *provider) {}, "", []string{`knows the client "jupyter"`}},
		"login page": {
			"Some show a page all the same.",
			func(s *standIn, _ *provider) { s.authorize = body(200, "<html>") }, "", nil},
		"own page": {
			"Some redirect to one.",
			func(s *standIn, _ *provider) {
				s.authorize = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusSeeOther) }
			}, "", nil},
		"consent": {
			"Another word for the same.",
			func(s *standIn, _ *provider) { s.authorize = redirectBack("consent_required", "") }, "", nil},
		"no prompt=none": {
			"That it does not like the request says nothing about the client.",
			func(s *standIn, _ *provider) {
				s.authorize = redirectBack("invalid_request", "prompt+is+not+supported")
			}, "", nil},
		"400": {
			"It must not redirect to whom it does not know.",
			func(s *standIn, _ *provider) {
				s.authorize = oauthError(400, "invalid_request", "The requested redirect_uri\nis missing\u202e in the client configuration")
			}, clientRefused, []string{`does not know the client "jupyter"`, `"https://jupyter.example.org/alice/oauth2/callback"`,
				`HTTP status 400, "invalid_request": "The requested redirect_uri is missing in the client configuration"`, "register both there"}},
		"401": {"Whatever the status.", func(s *standIn, _ *provider) { s.authorize = status(401) }, clientRefused, []string{"HTTP status 401"}},
		"403": {"Whatever the status.", func(s *standIn, _ *provider) { s.authorize = status(403) }, clientRefused, []string{"HTTP status 403"}},
		"404": {"Whatever the status.", func(s *standIn, _ *provider) { s.authorize = body(404, "<p>Not found") }, clientRefused, []string{"HTTP status 404"}},
		"500": {"Some fail over a client that is not there.", func(s *standIn, _ *provider) { s.authorize = status(500) }, clientRefused, []string{"HTTP status 500"}},
		"503": {"That is not the provider's own answer.", func(s *standIn, _ *provider) { s.authorize = status(503) }, providerUnreachable, []string{"HTTP status 503 on its authorization_endpoint"}},
		"unauthorized client": {
			"It knows the client, and does not let it.",
			func(s *standIn, _ *provider) { s.authorize = redirectBack("unauthorized_client", "") }, clientRefused, []string{`"unauthorized_client"`}},
		"invalid request about the client": {
			"It says that it does not know it.",
			func(s *standIn, _ *provider) { s.authorize = redirectBack("invalid_request", "unknown+Client+jupyter") }, clientRefused, []string{`"unknown Client jupyter"`}},
		"scopes": {
			"Nobody could sign in with these.",
			func(s *standIn, _ *provider) { s.authorize = redirectBack("invalid_scope", "") }, clientRefused, []string{`the scopes "openid email"`}},
		"authorization hangs up": {
			"No answer is no refusal.",
			func(s *standIn, _ *provider) {
				s.authorize = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
			},
			providerUnreachable, []string{"cannot be reached"}},

		"wrong secret": {
			"RFC 6749, section 5.2.",
			func(s *standIn, _ *provider) { s.token = oauthError(401, "invalid_client", "wrong secret") },
			clientRefused, []string{"refuses the secret of the client", `HTTP status 401, "invalid_client": "wrong secret"`}},
		"wrong secret, 400": {
			"The status may be 400.",
			func(s *standIn, _ *provider) { s.token = oauthError(400, "invalid_client", "") }, clientRefused, []string{"HTTP status 400"}},
		"not this grant": {
			"The client may not redeem codes.",
			func(s *standIn, _ *provider) { s.token = oauthError(400, "unauthorized_client", "") }, clientRefused, []string{"unauthorized_client"}},
		"401 without words": {
			"Some say no more.",
			func(s *standIn, _ *provider) { s.token = body(401, "<html>") }, clientRefused, []string{"HTTP status 401"}},
		"secret repeated": {
			"A provider that repeats the secret does not get it into a log.",
			func(s *standIn, _ *provider) {
				s.token = oauthError(401, "invalid_client", "bad: "+theSecret+" "+url.QueryEscape(theSecret))
			},
			clientRefused, []string{"bad: (the secret) (the secret)"}},
		"white space": {
			"It is easy to overlook.",
			func(s *standIn, p *provider) {
				writeFile(t, p.ClientSecretFile, theSecret+"\n")
				s.token = oauthError(401, "invalid_client", "bad: "+theSecret)
			}, clientRefused, []string{"begins or ends with white space", "bad: (the secret)"}},
		"public client refused": {
			"It wants a secret.",
			func(s *standIn, p *provider) {
				p.ClientSecretFile = ""
				s.token = oauthError(401, "invalid_client", "")
			},
			clientRefused, []string{"without a secret"}},
		"token endpoint passes": {
			"Something in front of it answered.",
			func(s *standIn, _ *provider) { s.token = status(502) }, providerUnreachable, []string{"HTTP status 502 on its token_endpoint"}},
		"any other error": {
			"It is not about the client.",
			func(s *standIn, _ *provider) { s.token = oauthError(400, "unsupported_grant_type", "") }, "", nil},
		"empty secret":  {"The file is empty.", func(_ *standIn, p *provider) { writeFile(t, p.ClientSecretFile, "") }, clientRefused, []string{"is empty"}},
		"no secret":     {"It is not there.", func(_ *standIn, p *provider) { p.ClientSecretFile = "/nonexistent" }, clientRefused, []string{"cannot be read"}},
		"provider down": {"The rest cannot be tried.", func(s *standIn, _ *provider) { s.Close() }, providerUnreachable, []string{"connection refused"}},
		"not it":        {"Nor here.", func(s *standIn, _ *provider) { s.discovery = status(404) }, providerInvalid, []string{"HTTP status 404"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			p := s.settings(t)
			test.change(s, &p)
			config := writeFile(t, filepath.Join(t.TempDir(), "c.json"), text(t, testConfig(func(c *config) { c.Provider = p })))
			var stdout, stderr bytes.Buffer
			if code := run(context.Background(), []string{"check", "--config", config}, &stdout, &stderr); code != 0 {
				t.Fatalf("%s\nexit code %d: %s", test.reason, code, stderr.String())
			}
			got, err := readReport(p.Report)
			if err != nil || got.Reason != test.want || got.OK != (test.want == "") {
				t.Fatalf("%s\ngot  %+v %v\nwant %s", test.reason, got, err, test.want)
			}
			for _, part := range test.message {
				if !strings.Contains(got.Message, part) {
					t.Errorf("%s\n%q is not in %q", test.reason, part, got.Message)
				}
			}
			checkSentence(t, got.Message)
			if stdout.String() != got.Message+"\n" || stderr.Len() > 0 {
				t.Errorf("stdout: %s\nstderr: %s", stdout.String(), stderr.String())
			}
			for _, secret := range []string{theSecret, url.QueryEscape(theSecret)} {
				if strings.Contains(stdout.String()+got.Message, secret) {
					t.Errorf("the secret is in %s", got.Message)
				}
			}
		})
	}
}

func TestCheckSends(t *testing.T) {
	for name, test := range map[string]struct {
		reason  string
		methods []string
		public  bool
		want    map[string]string
	}{
		"basic":         {"It is what a provider must understand (RFC 6749, section 2.3.1): each half encoded.", nil, false, map[string]string{"basic": "jupyter:top+secret%2B%2F%25"}},
		"both":          {"It is the first choice.", []string{"client_secret_post", "client_secret_basic"}, false, map[string]string{"basic": "jupyter:top+secret%2B%2F%25"}},
		"others":        {"A secret is all that there is.", []string{"private_key_jwt"}, false, map[string]string{"basic": "jupyter:top+secret%2B%2F%25"}},
		"post":          {"Some take it in the form alone.", []string{"client_secret_post", "none"}, false, map[string]string{"client_id": "jupyter", "client_secret": theSecret}},
		"public client": {"It has none.", []string{"client_secret_basic"}, true, map[string]string{"client_id": "jupyter"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.methods = test.methods
			var query url.Values
			s.authorize = func(w http.ResponseWriter, r *http.Request) {
				query = r.URL.Query()
				loginRequired(w, r)
			}
			p := s.settings(t)
			if test.public {
				p.ClientSecretFile = ""
			}
			if got := tryClient(context.Background(), p); !got.OK {
				t.Fatalf("%s\n%+v", test.reason, got)
			}
			want := map[string]string{"method": "POST", "query": "", "grant_type": "authorization_code", "redirect_uri": p.RedirectURL}
			for name, value := range test.want {
				want[name] = value
			}
			for name, value := range want {
				if s.form[name] != value {
					t.Errorf("%s\n%s: %q, not %q", test.reason, name, s.form[name], value)
				}
			}
			if len(s.form) != len(want)+2 || s.form["code"] == "" || len(s.form["code_verifier"]) < 43 {
				t.Errorf("%s\nthe form: %v", test.reason, s.form)
			}
			for name, value := range map[string]string{
				"tenant": "1", "response_type": "code", "client_id": "jupyter", "redirect_uri": p.RedirectURL, "scope": "openid email",
				"code_challenge_method": "S256", "prompt": "none",
			} {
				if query.Get(name) != value {
					t.Errorf("%s\n%s: %q, not %q", test.reason, name, query.Get(name), value)
				}
			}
			if query.Get("state") == "" || len(query.Get("code_challenge")) != 43 {
				t.Errorf("%s\nthe query: %v", test.reason, query)
			}
		})
	}
}

// The secret goes to the token endpoint, and nowhere that it sends one to.
func TestCheckFollowsNoRedirect(t *testing.T) {
	elsewhere := newAnswering(t, status(200))
	s := newStandIn(t)
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	s.authorize, s.token = redirect, redirect
	tryClient(context.Background(), s.settings(t))
	if n := len(elsewhere.seen()); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

func TestCheckIsBounded(t *testing.T) {
	expectNoGoroutinesLeft(t)
	s := newStandIn(t)
	done := make(chan struct{})
	s.authorize = func(http.ResponseWriter, *http.Request) { <-done }
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	got := tryClient(ctx, s.settings(t))
	if got.Reason != providerUnreachable || !strings.Contains(got.Message, "no answer in time") {
		t.Errorf("%+v", got)
	}
}

func TestCheckNeverStopsAServer(t *testing.T) {
	s := newStandIn(t)
	p := s.settings(t)
	p.Report = filepath.Join(t.TempDir(), "missing", "provider.json")
	folder := t.TempDir()
	for name, test := range map[string]struct{ reason, config, stderr string }{
		"no report": {"The report cannot be written.", text(t, testConfig(func(c *config) { c.Provider = p })), "error: the report cannot be written"},
		"no config": {"`serve` says so, and fails.", "{}", "error: " + filepath.Join(folder, "no config") + ": server: must not be empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			path := writeFile(t, filepath.Join(folder, name), test.config)
			if code := run(context.Background(), []string{"check", "--config", path}, &stdout, &stderr); code != 0 {
				t.Errorf("%s\nexit code %d", test.reason, code)
			}
			if !strings.HasPrefix(stderr.String(), test.stderr) {
				t.Errorf("%s\n%s", test.reason, stderr.String())
			}
		})
	}
	if _, err := os.Stat(p.Report); err == nil {
		t.Error("there is a report")
	}
}
