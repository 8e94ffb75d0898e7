// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

const (
	callback = "http://jupyter.localhost:8000/alice/oauth2/callback"
	nonce    = "a nonce"
)

func demo() Options {
	return Options{
		Users: DemoUsers(),
		Clients: []Client{
			{ID: "jupyter", Secret: "secret & more", RedirectURIs: []string{callback}},
			{ID: "public", RedirectURIs: []string{callback}},
			{ID: "any", Secret: "s", AllowRedirect: func(u *url.URL) bool { return strings.HasSuffix(u.Hostname(), ".localhost") }},
		},
	}
}

// browser is a browser during a sign-in.
type browser struct {
	t      *testing.T
	http   *http.Client
	issuer string
	config oauth2.Config
}

func start(t *testing.T, options Options) (*Provider, *browser) {
	t.Helper()
	p, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, newBrowser(t, p.Issuer(), http.DefaultTransport)
}

func newBrowser(t *testing.T, issuer string, transport http.RoundTripper) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{
		t:      t,
		issuer: issuer,
		// Redirects are not followed automatically, because some lead to clients that do not exist.
		http: &http.Client{Jar: jar, Transport: transport, Timeout: 10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		config: oauth2.Config{
			ClientID: "jupyter", ClientSecret: "secret & more", RedirectURL: callback,
			Scopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail},
			Endpoint: oauth2.Endpoint{
				AuthURL: issuer + "/authorize", TokenURL: issuer + tokenPath, AuthStyle: oauth2.AuthStyleInHeader,
			},
		},
	}
}

// answer is the end of a chain of redirects: a page of the provider, or a location outside of it.
type answer struct {
	status   int
	location *url.URL // empty for a page
	body     string
}

func (a answer) String() string { return fmt.Sprintf("%d %s: %s", a.status, a.location, a.body) }

// follow follows redirects within the provider.
func (b *browser) follow(request *http.Request) answer {
	b.t.Helper()
	for {
		response, err := b.http.Do(request.WithContext(b.t.Context()))
		if err != nil {
			b.t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			b.t.Fatal(err)
		}
		next, err := response.Location()
		if err != nil {
			return answer{response.StatusCode, &url.URL{}, string(body)}
		}
		if next.Scheme+"://"+next.Host != b.issuer {
			return answer{response.StatusCode, next, string(body)}
		}
		request = b.request(http.MethodGet, next.String(), nil)
	}
}

func (b *browser) request(method, target string, form url.Values) *http.Request {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return request
}

// open starts a sign-in, which results in the form or a redirect to the client.
func (b *browser) open(options ...oauth2.AuthCodeOption) answer {
	b.t.Helper()
	options = append(options, oauth2.SetAuthURLParam("nonce", nonce))
	return b.follow(b.request(http.MethodGet, b.config.AuthCodeURL("a state", options...), nil))
}

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// submit fills in the form.
func (b *browser) submit(form, username, password string) answer {
	b.t.Helper()
	id := requestID.FindStringSubmatch(form)
	if id == nil {
		b.t.Fatalf("no form: %s", form)
	}
	return b.follow(b.request(http.MethodPost, b.issuer+loginPath,
		url.Values{"id": {id[1]}, "username": {username}, "password": {password}}))
}

// signIn signs in and returns the client's code.
func (b *browser) signIn(username string, options ...oauth2.AuthCodeOption) string {
	b.t.Helper()
	got := b.submit(b.open(options...).body, username, username)
	if got.location.Query().Get("state") != "a state" || !strings.HasPrefix(got.location.String(), b.config.RedirectURL+"?") {
		b.t.Fatalf("the sign-in redirects elsewhere: %s", got)
	}
	return got.location.Query().Get("code")
}

func (b *browser) exchange(code string, options ...oauth2.AuthCodeOption) (*oauth2.Token, error) {
	return b.config.Exchange(b.context(), code, options...)
}

func (b *browser) context() context.Context {
	return context.WithValue(b.t.Context(), oauth2.HTTPClient, b.http)
}

// verify verifies a token and returns its claims.
func (b *browser) verify(token *oauth2.Token) *oidc.IDTokenClaims {
	b.t.Helper()
	party, err := rp.NewRelyingPartyOIDC(b.t.Context(), b.issuer, b.config.ClientID, b.config.ClientSecret, callback,
		b.config.Scopes, rp.WithHTTPClient(b.http),
		rp.WithVerifierOpts(rp.WithNonce(func(context.Context) string { return nonce })))
	if err != nil {
		b.t.Fatal(err)
	}
	idToken, _ := token.Extra("id_token").(string)
	claims, err := rp.VerifyTokens[*oidc.IDTokenClaims](b.t.Context(), token.AccessToken, idToken, party.IDTokenVerifier())
	if err != nil {
		b.t.Fatal(err)
	}
	return claims
}

// tokenError returns the status and the OAuth error of a failed token request.
func tokenError(err error) (int, string) {
	var failure *oauth2.RetrieveError
	if !errors.As(err, &failure) {
		return 0, ""
	}
	return failure.Response.StatusCode, failure.ErrorCode
}

func TestSignInReturnsTheIdentity(t *testing.T) {
	tests := []struct {
		reason   string
		user     string
		scopes   []string
		verified bool
		email    string
		username string
		groups   []any
	}{
		{reason: "all claims", user: "alice", scopes: []string{"openid", "email", "profile"},
			email: "alice@example.org", verified: true, username: "alice", groups: []any{"researchers"}},
		{reason: "an unverified address", user: "carol", scopes: []string{"openid", "email"},
			email: "alice@example.org"},
		{reason: "a group with a comma in its name is one group", user: "carol", scopes: []string{"openid", "groups"},
			groups: []any{"staff,researchers"}},
		{reason: "only the subject", user: "bob", scopes: []string{"openid"}},
	}
	_, b := start(t, demo())
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			b := newBrowser(t, b.issuer, http.DefaultTransport)
			b.config.Scopes = test.scopes
			verifier := oauth2.GenerateVerifier()
			code := b.signIn(test.user, oauth2.S256ChallengeOption(verifier))
			token, err := b.exchange(code, oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			claims := b.verify(token)
			if claims.Subject != test.user {
				t.Errorf("subject %q", claims.Subject)
			}
			info := b.userinfo(token.AccessToken)
			for source, got := range map[string]*oidc.UserInfo{"ID token": claims.GetUserInfo(), "userinfo": info} {
				groups, _ := got.Claims["groups"].([]any)
				if got.Email != test.email || bool(got.EmailVerified) != test.verified || got.PreferredUsername != test.username ||
					!reflect.DeepEqual(groups, test.groups) {
					t.Errorf("%s: %+v", source, got)
				}
			}
			if _, err := b.exchange(code, oauth2.VerifierOption(verifier)); err == nil {
				t.Error("the code was accepted twice")
			}
		})
	}
}

func (b *browser) userinfo(accessToken string) *oidc.UserInfo {
	b.t.Helper()
	request := b.request(http.MethodGet, b.issuer+"/userinfo", nil)
	request.Header.Set("Authorization", "Bearer "+accessToken)
	got := b.follow(request)
	info := new(oidc.UserInfo)
	if err := json.Unmarshal([]byte(got.body), info); err != nil {
		b.t.Fatalf("%s: %v", got, err)
	}
	return info
}

func TestWrongPasswordShowsTheFormAgain(t *testing.T) {
	_, b := start(t, demo())
	wrong := b.submit(b.open().body, "alice", "<wrong>")
	if wrong.status != http.StatusUnauthorized || !strings.Contains(wrong.body, "password is wrong") || strings.Contains(wrong.body, "<wrong>") {
		t.Fatal(wrong)
	}
	if got := b.submit(wrong.body, "alice", "alice"); !got.location.Query().Has("code") {
		t.Errorf("the right password afterwards: %s", got)
	}
	if got := b.submit(`name="id" value="another"`, "alice", "alice"); got.status != http.StatusBadRequest {
		t.Errorf("an unknown sign-in: %s", got)
	}
}

func TestConfidentialClientsMustAuthenticate(t *testing.T) {
	tests := []struct {
		reason string
		change func(*oauth2.Config)
		code   string
		status int
		want   string
	}{
		{reason: "in the header", change: func(*oauth2.Config) {}},
		{reason: "in the body", change: func(c *oauth2.Config) { c.Endpoint.AuthStyle = oauth2.AuthStyleInParams }},
		{reason: "a wrong secret in the header", change: func(c *oauth2.Config) { c.ClientSecret = "wrong" },
			status: http.StatusUnauthorized, want: "invalid_client"},
		{reason: "a wrong secret in the body", change: func(c *oauth2.Config) { c.ClientSecret, c.Endpoint.AuthStyle = "wrong", oauth2.AuthStyleInParams },
			status: http.StatusUnauthorized, want: "invalid_client"},
		{reason: "no secret", change: func(c *oauth2.Config) { c.ClientSecret, c.Endpoint.AuthStyle = "", oauth2.AuthStyleInParams },
			status: http.StatusUnauthorized, want: "invalid_client"},
		{reason: "an unknown client", change: func(c *oauth2.Config) { c.ClientID = "unknown" },
			status: http.StatusUnauthorized, want: "invalid_client"},
		{reason: "the client is authenticated before the code is checked", change: func(c *oauth2.Config) { c.ClientSecret = "wrong" }, code: "wrong",
			status: http.StatusUnauthorized, want: "invalid_client"},
		{reason: "a wrong code", change: func(*oauth2.Config) {}, code: "wrong", status: http.StatusBadRequest, want: "invalid_grant"},
		{reason: "another client's code", change: func(c *oauth2.Config) { c.ClientID, c.ClientSecret = "any", "s" },
			status: http.StatusBadRequest, want: "invalid_grant"},
	}
	_, b := start(t, demo())
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			b := newBrowser(t, b.issuer, http.DefaultTransport)
			code := b.signIn("alice")
			if test.code != "" {
				code = test.code
			}
			test.change(&b.config)
			_, err := b.exchange(code)
			if status, got := tokenError(err); status != test.status || got != test.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPublicClientsMustUsePKCE(t *testing.T) {
	_, b := start(t, demo())
	b.config.ClientID, b.config.ClientSecret, b.config.Endpoint.AuthStyle = "public", "", oauth2.AuthStyleInParams
	verifier := oauth2.GenerateVerifier()
	for reason, options := range map[string][]oauth2.AuthCodeOption{
		"no challenge":    nil,
		"a plain one":     {oauth2.SetAuthURLParam("code_challenge", verifier), oauth2.SetAuthURLParam("code_challenge_method", "plain")},
		"a plain one too": {oauth2.SetAuthURLParam("code_challenge", verifier)},
	} {
		if got := b.open(options...); got.location.Query().Get("error") != "invalid_request" {
			t.Errorf("%s: %s", reason, got)
		}
	}
	code := b.signIn("alice", oauth2.S256ChallengeOption(verifier))
	if _, err := b.exchange(code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
		t.Error("another verifier was accepted")
	}
	if _, err := b.exchange(code, oauth2.VerifierOption(verifier)); err != nil {
		t.Error(err)
	}
}

func TestRedirectURIs(t *testing.T) {
	tests := []struct {
		reason, client, uri string
		status              int
	}{
		{reason: "a redirect URI of the client", client: "jupyter", uri: callback, status: http.StatusOK},
		{reason: "another redirect URI", client: "jupyter", uri: callback + "/", status: http.StatusBadRequest},
		{reason: "an allowed redirect URI", client: "any", uri: callback, status: http.StatusOK},
		{reason: "a denied redirect URI", client: "any", uri: "https://example.org/#.localhost", status: http.StatusBadRequest},
		{reason: "an unknown client", client: "unknown", uri: callback, status: http.StatusBadRequest},
		{reason: "a client that was registered later", client: "later", uri: "https://later.example.org/cb", status: http.StatusOK},
	}
	p, b := start(t, demo())
	p.RegisterClient(Client{ID: "later", Secret: "s", RedirectURIs: []string{"https://later.example.org/cb"}})
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			b := newBrowser(t, b.issuer, http.DefaultTransport)
			b.config.ClientID, b.config.RedirectURL = test.client, test.uri
			if got := b.open(); got.status != test.status {
				t.Error(got)
			}
		})
	}
}

func TestPromptNone(t *testing.T) {
	none := oauth2.SetAuthURLParam("prompt", "none")
	for _, remember := range []bool{false, true} {
		options := demo()
		options.SingleSignOn = remember
		_, b := start(t, options)
		if got := b.open(none); got.location.Query().Get("error") != "login_required" {
			t.Errorf("before a sign-in: %s", got)
		}
		b.signIn("alice")
		if got := b.open(none); got.location.Query().Has("code") != remember {
			t.Errorf("after a sign-in that is remembered (%t): %s", remember, got)
		}
		if got := b.open(oauth2.SetAuthURLParam("prompt", "login")); got.status != http.StatusOK {
			t.Errorf("a sign-in with prompt=login: %s", got)
		}
	}
}

func TestSignOut(t *testing.T) {
	options := demo()
	options.SingleSignOn = true
	_, b := start(t, options)
	token, err := b.exchange(b.signIn("alice"))
	if err != nil {
		t.Fatal(err)
	}
	idToken, _ := token.Extra("id_token").(string)
	ask := func(target string) answer {
		query := url.Values{"id_token_hint": {idToken}, "post_logout_redirect_uri": {target}}
		return b.follow(b.request(http.MethodGet, b.issuer+"/end_session?"+query.Encode(), nil))
	}
	if got := ask("https://example.org/"); got.status != http.StatusBadRequest {
		t.Errorf("signing out to any URL: %s", got)
	}
	if got := ask(callback); got.location.String() != callback {
		t.Errorf("signing out to the client: %s", got)
	}
	if got := b.open(); got.status != http.StatusOK {
		t.Errorf("the next sign-in must show the form: %s", got)
	}
}

func TestRefreshTokens(t *testing.T) {
	_, b := start(t, demo())
	b.config.Scopes = append(slices.Clone(b.config.Scopes), oidc.ScopeOfflineAccess)
	first, err := b.exchange(b.signIn("alice"))
	if err != nil || first.RefreshToken == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	refresh := func() (*oauth2.Token, error) {
		return b.config.TokenSource(b.context(), &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
	}
	second, err := refresh()
	if err != nil || second.RefreshToken == first.RefreshToken || b.userinfo(second.AccessToken).Subject != "alice" {
		t.Errorf("%+v, %v", second, err)
	}
	if _, err := refresh(); err == nil {
		t.Error("a used refresh token was accepted")
	}
}

func TestCloseAndStart(t *testing.T) {
	p, b := start(t, demo())
	code := b.signIn("alice")
	issuer := p.Issuer()
	p.Close()
	if response, err := b.http.Do(b.request(http.MethodGet, b.issuer+oidc.DiscoveryEndpoint, nil)); err == nil {
		response.Body.Close()
		t.Error("it responds after Close on an existing connection")
	}
	p.Close() // Close is idempotent
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Start(t.Context()) == nil {
		t.Error("it was started twice without an error")
	}
	token, err := b.exchange(code)
	if err != nil {
		t.Fatalf("an earlier sign-in: %v", err)
	}
	if claims := b.verify(token); claims.Issuer != issuer {
		t.Errorf("issuer %q, want %q", claims.Issuer, issuer)
	}
}

func TestTLS(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil) // creates a certificate
	borrowed.Close()
	options := demo()
	options.Certificate = &borrowed.TLS.Certificates[0]
	p, _ := start(t, options)
	if !strings.HasPrefix(p.Issuer(), "https://127.0.0.1:") {
		t.Fatal(p.Issuer())
	}
	roots := x509.NewCertPool()
	roots.AddCert(borrowed.Certificate())
	b := newBrowser(t, p.Issuer(), &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}})
	token, err := b.exchange(b.signIn("bob"))
	if err != nil {
		t.Fatal(err)
	}
	if claims := b.verify(token); claims.Subject != "bob" {
		t.Errorf("signed in as %q", claims.Subject)
	}
}

func TestInvalidOptionsAreRejected(t *testing.T) {
	for reason, options := range map[string]Options{
		"an issuer below a path":      {Issuer: "http://127.0.0.1/realm"},
		"a user without a password":   {Users: []User{{Subject: "a", Username: "a"}}},
		"an issuer that is not a URL": {Issuer: "http://[::1"},
	} {
		if _, err := New(options); err == nil {
			t.Errorf("%s is accepted", reason)
		}
	}
}
