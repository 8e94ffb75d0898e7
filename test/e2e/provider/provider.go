// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Options configure a Provider.
type Options struct {
	// Listen is the address to listen on (default: a free port of 127.0.0.1).
	Listen string
	// Issuer is the URL of the provider without a path (default: derived from the address).
	Issuer string
	// Certificate enables TLS.
	Certificate *tls.Certificate
	Users       []User
	Clients     []Client
	// SingleSignOn remembers signed-in users in a cookie. Without it every sign-in shows the form.
	SingleSignOn bool
	// AccessTokenLifetime defaults to 5 minutes, IDTokenLifetime to one hour.
	AccessTokenLifetime, IDTokenLifetime time.Duration
}

// User is a user who can sign in.
type User struct {
	Subject       string   `json:"sub"`
	Username      string   `json:"username"`
	Password      string   `json:"password"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"emailVerified"`
	Groups        []string `json:"groups"`
}

// DemoUsers returns users for demonstrations. Their passwords are their usernames.
func DemoUsers() []User {
	return []User{
		{
			Subject: "alice", Username: "alice", Password: "alice", Name: "Alice Liddell",
			Email: "alice@example.org", EmailVerified: true, Groups: []string{"researchers"},
		},
		{
			Subject: "bob", Username: "bob", Password: "bob", Name: "Bob Dodgson",
			Email: "bob@example.org", EmailVerified: true, Groups: []string{"students"},
		},
		{
			// The address is not verified, and the name of the group contains a comma.
			Subject: "carol", Username: "carol", Password: "carol", Name: "Carol Pleasance",
			Email: "alice@example.org", Groups: []string{"staff,researchers"},
		},
	}
}

// Client is an OAuth client.
type Client struct {
	ID string
	// Secret authenticates the client. A client without a secret is public and must use PKCE.
	Secret string
	// RedirectURIs are the allowed redirect URIs after a sign-in and a sign-out.
	RedirectURIs []string
	// AllowRedirect reports whether another URI is allowed; nil allows none.
	AllowRedirect func(*url.URL) bool
}

// Provider is an OpenID provider. RegisterClient may be called at any time; Start and Close by one goroutine at a time.
type Provider struct {
	listen, issuer string
	certificate    *tls.Certificate
	handler        http.Handler
	storage        *storage

	server *http.Server
	served chan struct{} // closed when the server has stopped
}

// New returns a provider that does not listen yet.
func New(options Options) (*Provider, error) {
	if issuer, err := url.Parse(options.Issuer); err != nil || strings.Trim(issuer.Path, "/") != "" {
		return nil, fmt.Errorf("issuer %q: want a URL without a path", options.Issuer)
	}
	p := &Provider{listen: options.Listen, issuer: options.Issuer, certificate: options.Certificate}
	if p.listen == "" {
		p.listen = "127.0.0.1:0"
	}
	var err error
	if p.storage, err = newStorage(options); err != nil {
		return nil, err
	}
	config := &op.Config{
		CodeMethodS256:           true,
		AuthMethodPost:           true,
		GrantTypeRefreshToken:    true,
		DefaultLogoutRedirectURI: signedOutPath,
		SupportedScopes:          []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, scopeGroups, oidc.ScopeOfflineAccess},
		SupportedClaims:          []string{"sub", "name", "preferred_username", "email", "email_verified", claimGroups},
	}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, fmt.Errorf("create a key: %w", err)
	}
	openid, err := op.NewProvider(config, p.storage, p.issuerFromRequest, op.WithAllowInsecure(), op.WithHttpInterceptors(p.intercept))
	if err != nil {
		return nil, fmt.Errorf("create the provider: %w", err)
	}
	login := &login{storage: p.storage, authorizer: openid, remember: options.SingleSignOn}
	mux := http.NewServeMux()
	mux.Handle("/", openid)
	mux.HandleFunc("GET "+loginPath, login.show)
	mux.HandleFunc("POST "+loginPath, login.submit)
	mux.HandleFunc("GET "+signedOutPath, login.signedOut)
	p.handler = mux
	return p, nil
}

// Start listens and serves until Close. The first Start determines the address and the issuer.
func (p *Provider) Start(ctx context.Context) error {
	if p.server != nil {
		return errors.New("the provider is already running")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", p.listen)
	if err != nil {
		return fmt.Errorf("start the provider: %w", err)
	}
	p.listen = listener.Addr().String()
	scheme := "http"
	if p.certificate != nil {
		scheme = "https"
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*p.certificate}, NextProtos: []string{"http/1.1"}})
	}
	if p.issuer == "" {
		p.issuer = scheme + "://" + p.listen
	}
	p.server = &http.Server{Handler: p.handler, ReadHeaderTimeout: 10 * time.Second}
	p.served = make(chan struct{})
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener) // returns when Close closes it
	}()
	return nil
}

// Close closes all connections and releases the address. The state of the provider is kept for the next Start.
func (p *Provider) Close() {
	if p.server == nil {
		return
	}
	_ = p.server.Close() // errors are ignored
	<-p.served
	p.server = nil
}

// Issuer returns the URL of the provider after its first Start.
func (p *Provider) Issuer() string { return p.issuer }

// RegisterClient adds a client, or replaces the one with the same ID.
func (p *Provider) RegisterClient(client Client) { p.storage.addClient(client) }

func (p *Provider) issuerFromRequest(bool) (op.IssuerFromRequest, error) {
	return func(*http.Request) string { return p.issuer }, nil
}

// redirectKey is the context key of the requested redirect URI.
type redirectKey struct{}

// intercept adds to package op, which only supports fixed redirect URIs and checks a code before it authenticates the client.
func (p *Provider) intercept(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == tokenPath && !p.authenticated(r) {
			op.RequestError(w, r, oidc.ErrInvalidClient().WithDescription("unknown client or wrong secret"), nil)
			return
		}
		requested := r.FormValue("redirect_uri")
		if requested == "" {
			requested = r.FormValue("post_logout_redirect_uri")
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), redirectKey{}, requested)))
	})
}

// authenticated reports whether a request contains a client's ID and secret.
func (p *Provider) authenticated(r *http.Request) bool {
	id, secret, basic := r.BasicAuth()
	if !basic {
		return p.storage.checkSecret(r.PostFormValue("client_id"), r.PostFormValue("client_secret"))
	}
	// Both are encoded as in a form: RFC 6749, section 2.3.1.
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	return errID == nil && errSecret == nil && p.storage.checkSecret(id, secret)
}

// client adapts a Client to package op.
type client struct {
	Client
	redirects       []string
	idTokenLifetime time.Duration
}

// newClient adds the requested redirect URI to those of a client, if the client allows it.
func newClient(ctx context.Context, c Client, idTokenLifetime time.Duration) *client {
	redirects := slices.Clone(c.RedirectURIs)
	requested, _ := ctx.Value(redirectKey{}).(string)
	uri, err := url.Parse(requested)
	if err == nil && requested != "" && c.AllowRedirect != nil && c.AllowRedirect(uri) {
		redirects = append(redirects, requested)
	}
	return &client{Client: c, redirects: redirects, idTokenLifetime: idTokenLifetime}
}

func (c *client) GetID() string                       { return c.ID }
func (c *client) RedirectURIs() []string              { return c.redirects }
func (c *client) PostLogoutRedirectURIs() []string    { return c.redirects }
func (c *client) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *client) LoginURL(request string) string {
	return loginPath + "?id=" + url.QueryEscape(request)
}
func (c *client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c *client) IDTokenLifetime() time.Duration       { return c.idTokenLifetime }
func (c *client) DevMode() bool                        { return true } // redirects to http
func (c *client) IsScopeAllowed(scope string) bool     { return scope == scopeGroups }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c *client) ClockSkew() time.Duration             { return 0 }

func (c *client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}

func (c *client) AuthMethod() oidc.AuthMethod {
	if c.Secret == "" {
		return oidc.AuthMethodNone
	}
	return oidc.AuthMethodBasic
}

//nolint:revive // named by package op
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string { return allScopes }

func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string { return allScopes }

func allScopes(scopes []string) []string { return scopes }
