// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"maps"
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
		change  func(*fakeProvider, *provider)
		want    string
		message []string // parts of it
	}{
		"known": {
			"Errors about the missing user and the code show that the client is known.",
			func(*fakeProvider, *provider) {}, "", []string{`knows the client "jupyter"`}},
		"login page": {
			"Some providers show a page despite prompt=none.",
			func(s *fakeProvider, _ *provider) { s.authorize = body(200, "<html>") }, "", nil},
		"own page": {
			"Some providers redirect to a login page.",
			func(s *fakeProvider, _ *provider) {
				s.authorize = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusSeeOther) }
			}, "", nil},
		"consent": {
			"consent_required, like login_required, means that the client is known.",
			func(s *fakeProvider, _ *provider) { s.authorize = redirectBack("consent_required", "") }, "", nil},
		"no prompt=none": {
			"An error about prompt is not about the client.",
			func(s *fakeProvider, _ *provider) {
				s.authorize = redirectBack("invalid_request", "prompt+is+not+supported")
			}, "", nil},
		"400": {
			"A provider must not redirect to an unknown client.",
			func(s *fakeProvider, _ *provider) {
				s.authorize = oauthError(400, "invalid_request", "The requested redirect_uri\nis missing\u202e in the client configuration")
			}, clientRefused, []string{`does not know the client "jupyter"`, `"https://jupyter.example.org/alice/oauth2/callback"`,
				`HTTP status 400, "invalid_request": "The requested redirect_uri is missing in the client configuration"`, "register both there"}},
		"401 page": {
			"The page says what is wrong.",
			func(s *fakeProvider, _ *provider) { s.authorize = body(401, "<h1>Error 401: Unknown Client</h1>") }, clientRefused, []string{"HTTP status 401"}},
		"404 page": {
			"The page names the parameter.",
			func(s *fakeProvider, _ *provider) { s.authorize = body(404, "invalid redirect_uri") }, clientRefused, []string{"HTTP status 404"}},
		"400 about prompt": {
			"An error about prompt is not about the client, with a status either.",
			func(s *fakeProvider, _ *provider) {
				s.authorize = oauthError(400, "invalid_request", "prompt=none is not supported")
			},
			"", []string{"could not be tried", "HTTP status 400"}},
		"401 alone": {"A bare status proves nothing.", func(s *fakeProvider, _ *provider) { s.authorize = status(401) }, "", []string{"could not be tried"}},
		"403":       {"A firewall keeps programs out.", func(s *fakeProvider, _ *provider) { s.authorize = body(403, "Client blocked") }, "", []string{"could not be tried (HTTP status 403)"}},
		"404": {"A bare page proves nothing.", func(s *fakeProvider, _ *provider) {
			s.authorize = body(404, `<script src="/client.js">redirect(invalid_client)</script><p class="client-id">Not found`)
		}, "", []string{"could not be tried"}},
		"500": {"A provider fails at prompt=none.", func(s *fakeProvider, _ *provider) { s.authorize = status(500) }, "", []string{"could not be tried (HTTP status 500)"}},
		"500, no secret": {"The token endpoint tells nevertheless.", func(s *fakeProvider, _ *provider) {
			s.authorize, s.token = status(500), oauthError(401, "invalid_client", "")
		}, clientRefused, []string{"rejects the secret"}},
		"503": {"A gateway returned it, not the provider.", func(s *fakeProvider, _ *provider) { s.authorize = status(503) }, providerUnreachable, []string{"HTTP status 503 on its authorization_endpoint"}},
		"unauthorized client": {
			"The client is known but not allowed.",
			func(s *fakeProvider, _ *provider) { s.authorize = redirectBack("unauthorized_client", "") }, clientRefused, []string{`"unauthorized_client"`}},
		"invalid request about the client": {
			"The description is about the client.",
			func(s *fakeProvider, _ *provider) {
				s.authorize = redirectBack("invalid_request", "unknown+Client+jupyter")
			}, clientRefused, []string{`"unknown Client jupyter"`}},
		"scopes": {
			"No user could sign in with these scopes.",
			func(s *fakeProvider, _ *provider) { s.authorize = redirectBack("invalid_scope", "") }, clientRefused, []string{`the scopes "openid email"`}},
		"authorization closes the connection": {
			"A closed connection does not reject the client.",
			func(s *fakeProvider, _ *provider) {
				s.authorize = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
			},
			providerUnreachable, []string{"cannot be reached"}},

		"wrong secret": {
			"RFC 6749, section 5.2.",
			func(s *fakeProvider, _ *provider) { s.token = oauthError(401, "invalid_client", "wrong secret") },
			clientRefused, []string{"rejects the secret of the client", `HTTP status 401, "invalid_client": "wrong secret"`}},
		"wrong secret, 400": {
			"The status can be 400.",
			func(s *fakeProvider, _ *provider) { s.token = oauthError(400, "invalid_client", "") }, clientRefused, []string{"HTTP status 400"}},
		"not this grant": {
			"The client is not allowed to redeem codes.",
			func(s *fakeProvider, _ *provider) { s.token = oauthError(400, "unauthorized_client", "") }, clientRefused, []string{"unauthorized_client"}},
		"401 without error": {
			"Some providers return only the status.",
			func(s *fakeProvider, _ *provider) { s.token = body(401, "<html>") }, clientRefused, []string{"HTTP status 401"}},
		"secret repeated": {
			"A secret that the provider repeats is not logged.",
			func(s *fakeProvider, _ *provider) {
				s.token = oauthError(401, "invalid_client", "bad: "+clientSecret+" "+url.QueryEscape(clientSecret))
			},
			clientRefused, []string{"bad: (the secret) (the secret)"}},
		"white space": {
			"White space is easily overlooked.",
			func(s *fakeProvider, p *provider) {
				writeFile(t, p.ClientSecretFile, clientSecret+"\n")
				s.token = oauthError(401, "invalid_client", "bad: "+clientSecret)
			}, clientRefused, []string{"begins or ends with white space", "bad: (the secret)"}},
		"public client rejected": {
			"The provider requires a secret.",
			func(s *fakeProvider, p *provider) {
				p.ClientSecretFile = ""
				s.token = oauthError(401, "invalid_client", "")
			},
			clientRefused, []string{"without a secret"}},
		"token endpoint unavailable": {
			"A gateway returned it, not the provider.",
			func(s *fakeProvider, _ *provider) { s.token = status(502) }, providerUnreachable, []string{"HTTP status 502 on its token_endpoint"}},
		"any other error": {
			"The error is not about the client.",
			func(s *fakeProvider, _ *provider) { s.token = oauthError(400, "unsupported_grant_type", "") }, "", nil},
		"empty secret":   {"The file is empty.", func(_ *fakeProvider, p *provider) { writeFile(t, p.ClientSecretFile, "") }, clientRefused, []string{"is empty"}},
		"no secret":      {"The file does not exist.", func(_ *fakeProvider, p *provider) { p.ClientSecretFile = "/nonexistent" }, clientRefused, []string{"cannot read the secret"}},
		"provider down":  {"The endpoints cannot be tested.", func(s *fakeProvider, _ *provider) { s.Close() }, providerUnreachable, []string{"connection refused"}},
		"not a provider": {"The endpoints are unknown.", func(s *fakeProvider, _ *provider) { s.discovery = status(404) }, providerInvalid, []string{"HTTP status 404"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeProvider(t)
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
					t.Errorf("%s\n%q does not contain %q", test.reason, got.Message, part)
				}
			}
			checkSentence(t, got.Message)
			if stdout.String() != got.Message+"\n" || stderr.Len() > 0 {
				t.Errorf("stdout: %s\nstderr: %s", stdout.String(), stderr.String())
			}
			for _, secret := range []string{clientSecret, url.QueryEscape(clientSecret)} {
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
		"basic":         {"Providers must support it (RFC 6749, section 2.3.1): each half is encoded.", nil, false, map[string]string{"basic": "jupyter:top+secret%2B%2F%25"}},
		"both":          {"client_secret_basic is preferred.", []string{"client_secret_post", "client_secret_basic"}, false, map[string]string{"basic": "jupyter:top+secret%2B%2F%25"}},
		"others":        {"Only a secret is configured.", []string{"private_key_jwt"}, false, map[string]string{"basic": "jupyter:top+secret%2B%2F%25"}},
		"post":          {"Some providers accept the secret only in the form.", []string{"client_secret_post", "none"}, false, map[string]string{"client_id": "jupyter", "client_secret": clientSecret}},
		"public client": {"A public client has no secret.", []string{"client_secret_basic"}, true, map[string]string{"client_id": "jupyter"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeProvider(t)
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
			if got := testClient(context.Background(), p); !got.OK {
				t.Fatalf("%s\n%+v", test.reason, got)
			}
			want := map[string]string{"method": "POST", "query": "", "grant_type": "authorization_code", "redirect_uri": p.RedirectURL}
			maps.Copy(want, test.want)
			for name, value := range want {
				if s.form[name] != value {
					t.Errorf("%s\n%s: got %q, want %q", test.reason, name, s.form[name], value)
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
					t.Errorf("%s\n%s: got %q, want %q", test.reason, name, query.Get(name), value)
				}
			}
			if query.Get("state") == "" || len(query.Get("code_challenge")) != 43 {
				t.Errorf("%s\nthe query: %v", test.reason, query)
			}
		})
	}
}

// The secret is sent to the token endpoint and never to a redirect target.
func TestCheckFollowsNoRedirect(t *testing.T) {
	elsewhere := newRecordingServer(t, status(200))
	s := newFakeProvider(t)
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	s.authorize, s.token = redirect, redirect
	testClient(context.Background(), s.settings(t))
	if n := len(elsewhere.seen()); n != 0 {
		t.Errorf("another host got %d requests", n)
	}
}

func TestCheckIsBounded(t *testing.T) {
	expectNoGoroutinesLeft(t)
	s := newFakeProvider(t)
	done := make(chan struct{})
	s.authorize = func(http.ResponseWriter, *http.Request) { <-done }
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	got := testClient(ctx, s.settings(t))
	if got.Reason != providerUnreachable || !strings.Contains(got.Message, "timeout") {
		t.Errorf("%+v", got)
	}
}

func TestCheckNeverStopsAServer(t *testing.T) {
	s := newFakeProvider(t)
	p := s.settings(t)
	p.Report = filepath.Join(t.TempDir(), "missing", "provider.json")
	folder := t.TempDir()
	for name, test := range map[string]struct{ reason, config, stderr string }{
		"no report": {"The report cannot be written.", text(t, testConfig(func(c *config) { c.Provider = p })), "error: writing the report"},
		"no config": {"`serve` reports it and fails.", "{}", "error: " + filepath.Join(folder, "no config") + ": server: must not be empty"},
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
		t.Error("a report was written")
	}
}
