// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	scopeGroups = "groups"
	claimGroups = "groups"
)

var errUnknown = errors.New("unknown or used")

// storage holds the state of the provider and implements op.Storage. It is safe for concurrent use, because it returns copies.
type storage struct {
	key                                  signingKey
	accessTokenLifetime, idTokenLifetime time.Duration

	mutex         sync.Mutex
	users         map[string]User // by subject
	clients       map[string]Client
	requests      map[string]*authRequest
	codes         map[string]string // request IDs by code
	sessions      map[string]string // subjects by session
	accessTokens  map[string]accessToken
	refreshTokens map[string]grant
}

func newStorage(options Options) (*storage, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("create a signing key: %w", err)
	}
	s := &storage{
		key:                 signingKey{id: rand.Text(), private: key},
		accessTokenLifetime: options.AccessTokenLifetime,
		idTokenLifetime:     options.IDTokenLifetime,
		users:               map[string]User{},
		clients:             map[string]Client{},
		requests:            map[string]*authRequest{},
		codes:               map[string]string{},
		sessions:            map[string]string{},
		accessTokens:        map[string]accessToken{},
		refreshTokens:       map[string]grant{},
	}
	if s.accessTokenLifetime == 0 {
		s.accessTokenLifetime = 5 * time.Minute
	}
	if s.idTokenLifetime == 0 {
		s.idTokenLifetime = time.Hour
	}
	for _, user := range options.Users {
		if user.Subject == "" || user.Username == "" || user.Password == "" {
			return nil, fmt.Errorf("user %q: subject, username and password are required", user.Username)
		}
		s.users[user.Subject] = user
	}
	for _, client := range options.Clients {
		s.addClient(client)
	}
	return s, nil
}

// grant is a user's grant to a client. It implements op.RefreshTokenRequest.
type grant struct {
	client, subject string
	scopes          []string
	authTime        time.Time
}

func (g *grant) GetAMR() []string                 { return []string{"pwd"} }
func (g *grant) GetAudience() []string            { return []string{g.client} }
func (g *grant) GetAuthTime() time.Time           { return g.authTime }
func (g *grant) GetClientID() string              { return g.client }
func (g *grant) GetScopes() []string              { return g.scopes }
func (g *grant) GetSubject() string               { return g.subject }
func (g *grant) SetCurrentScopes(scopes []string) { g.scopes = scopes }

// authRequest is a sign-in in progress. It implements op.AuthRequest.
type authRequest struct {
	grant
	id        string
	requested oidc.AuthRequest
}

func (r *authRequest) GetID() string                      { return r.id }
func (r *authRequest) GetACR() string                     { return "" }
func (r *authRequest) GetNonce() string                   { return r.requested.Nonce }
func (r *authRequest) GetRedirectURI() string             { return r.requested.RedirectURI }
func (r *authRequest) GetResponseType() oidc.ResponseType { return r.requested.ResponseType }
func (r *authRequest) GetResponseMode() oidc.ResponseMode { return r.requested.ResponseMode }
func (r *authRequest) GetState() string                   { return r.requested.State }
func (r *authRequest) Done() bool                         { return r.subject != "" }

func (r *authRequest) GetCodeChallenge() *oidc.CodeChallenge {
	if r.requested.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: r.requested.CodeChallenge, Method: r.requested.CodeChallengeMethod}
}

type accessToken struct {
	grant
	expires time.Time
}

func (s *storage) addClient(client Client) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.clients[client.ID] = client
}

// checkSecret reports whether a client has the secret. A public client has none.
func (s *storage) checkSecret(id, secret string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	client, found := s.clients[id]
	return found && subtle.ConstantTimeCompare([]byte(client.Secret), []byte(secret)) == 1
}

// subject returns the user with a username and password.
func (s *storage) subject(username, password string) (string, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, user := range s.users {
		if user.Username == username && subtle.ConstantTimeCompare([]byte(user.Password), []byte(password)) == 1 {
			return user.Subject, true
		}
	}
	return "", false
}

// complete completes a sign-in as a subject.
func (s *storage) complete(id, subject string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if request, found := s.requests[id]; found {
		request.subject, request.authTime = subject, time.Now()
	}
}

// addSession adds the session of a signed-in user.
func (s *storage) addSession(subject string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	session := rand.Text()
	s.sessions[session] = subject
	return session
}

func (s *storage) subjectOfSession(session string) (string, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	subject, found := s.sessions[session]
	return subject, found
}

// request returns a copy of a sign-in in progress.
func (s *storage) request(id string) (*authRequest, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	request, found := s.requests[id]
	if !found {
		return nil, errUnknown
	}
	return new(*request), nil
}

// The methods below implement op.Storage.

func (s *storage) CreateAuthRequest(_ context.Context, requested *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	public := s.clients[requested.ClientID].Secret == ""
	if (public || requested.CodeChallenge != "") && requested.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("want a code challenge of method S256")
	}
	request := &authRequest{
		grant:     grant{client: requested.ClientID, scopes: requested.Scopes},
		id:        rand.Text(),
		requested: *requested,
	}
	s.requests[request.id] = request
	return new(*request), nil
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	return s.request(id)
}

func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mutex.Lock()
	id := s.codes[code]
	s.mutex.Unlock()
	return s.request(id)
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.codes[code] = id
	return nil
}

func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.requests, id)
	return nil
}

func (s *storage) CreateAccessToken(_ context.Context, request op.TokenRequest) (string, time.Time, error) {
	granted, err := grantOf(request)
	if err != nil {
		return "", time.Time{}, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	id := rand.Text()
	token := accessToken{grant: granted, expires: time.Now().Add(s.accessTokenLifetime)}
	s.accessTokens[id] = token
	return id, token.expires, nil
}

func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	id, expires, err := s.CreateAccessToken(ctx, request)
	if err != nil {
		return "", "", time.Time{}, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	refreshToken := rand.Text()
	s.refreshTokens[refreshToken] = s.accessTokens[id].grant
	delete(s.refreshTokens, current)
	return id, refreshToken, expires, nil
}

func grantOf(request op.TokenRequest) (grant, error) {
	switch request := request.(type) {
	case *authRequest:
		return request.grant, nil
	case *grant:
		return *request, nil
	}
	return grant{}, fmt.Errorf("unexpected token request of type %T", request)
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	granted, found := s.refreshTokens[token]
	if !found {
		return nil, op.ErrInvalidRefreshToken
	}
	return &granted, nil
}

func (s *storage) TerminateSession(_ context.Context, subject, client string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for session, of := range s.sessions {
		if of == subject {
			delete(s.sessions, session)
		}
	}
	for id, token := range s.accessTokens {
		if token.subject == subject && token.client == client {
			delete(s.accessTokens, id)
		}
	}
	for id, granted := range s.refreshTokens {
		if granted.subject == subject && granted.client == client {
			delete(s.refreshTokens, id)
		}
	}
	return nil
}

func (s *storage) RevokeToken(_ context.Context, token, _, client string) *oidc.Error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.accessTokens[token].client == client {
		delete(s.accessTokens, token)
	}
	if s.refreshTokens[token].client == client {
		delete(s.refreshTokens, token)
	}
	return nil
}

func (s *storage) GetRefreshTokenInfo(_ context.Context, _, token string) (string, string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	granted, found := s.refreshTokens[token]
	if !found {
		return "", "", op.ErrInvalidRefreshToken
	}
	return granted.subject, token, nil
}

func (s *storage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	client, found := s.clients[id]
	if !found {
		return nil, errUnknown
	}
	return newClient(ctx, client, s.idTokenLifetime), nil
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if !s.checkSecret(id, secret) {
		return errUnknown
	}
	return nil
}

// SetUserinfoFromScopes does nothing, as package op requires: SetUserinfoFromRequest sets the claims.
func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

// SetUserinfoFromRequest sets the claims of an ID token.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.setClaims(info, request.GetSubject(), scopes)
}

// SetUserinfoFromToken sets the claims of the userinfo response.
func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, id, _, _ string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	token, found := s.accessTokens[id]
	if !found || time.Now().After(token.expires) {
		return errUnknown
	}
	return s.setClaims(info, token.subject, token.scopes)
}

// setClaims sets the claims that the scopes allow.
func (s *storage) setClaims(info *oidc.UserInfo, subject string, scopes []string) error {
	user, found := s.users[subject]
	if !found {
		return errUnknown
	}
	info.Subject = subject
	if slices.Contains(scopes, oidc.ScopeEmail) {
		info.Email, info.EmailVerified = user.Email, oidc.Bool(user.EmailVerified)
	}
	profile := slices.Contains(scopes, oidc.ScopeProfile)
	if profile {
		info.Name, info.PreferredUsername = user.Name, user.Username
	}
	if len(user.Groups) > 0 && (profile || slices.Contains(scopes, scopeGroups)) {
		info.AppendClaims(claimGroups, user.Groups)
	}
	return nil
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errors.New("introspection is not supported")
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil //nolint:nilnil // no claims
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errors.New("clients have no keys")
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errors.New("the JWT profile is not supported")
}

func (s *storage) Health(context.Context) error { return nil }

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) { return []op.Key{publicKey{s.key}}, nil }

// signingKey signs tokens, publicKey is its public part.
type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

func (k signingKey) ID() string                                  { return k.id }
func (k signingKey) Key() any                                    { return k.private }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

type publicKey struct{ key signingKey }

func (k publicKey) ID() string                         { return k.key.id }
func (k publicKey) Key() any                           { return &k.key.private.PublicKey }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
