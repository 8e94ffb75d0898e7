// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// checkWithin bounds the whole command `check`.
const checkWithin = 10 * time.Second

// runCheck is the command `check`: before the server starts, it finds out whether anybody will be able to sign in. Whatever
// it finds, it exits with 0: a provider that is down must not keep a server from starting.
func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags, configFile := newFlags("check", stderr)
	if code, goOn := parse(flags, args, configFile, stderr); !goOn {
		return code
	}
	c, _, err := readConfig(*configFile)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err) // `serve` fails with it
		return exitOK
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	found := tryClient(ctx, c.Provider)
	fmt.Fprintln(stdout, found.Message)
	if err := writeReport(c.Provider.Report, found); err != nil {
		fmt.Fprintln(stderr, "error: the report cannot be written:", err)
	}
	return exitOK
}

// trial is one attempt to use the client at the provider.
type trial struct {
	provider  provider
	endpoints document

	client   *http.Client
	secret   string
	verifier string // of PKCE
}

// tryClient goes as far with the provider as one can without a person.
func tryClient(ctx context.Context, p provider) finding {
	client, err := newProviderClient(p.CAFile)
	if err != nil {
		return wrong(providerUnreachable, "the certificates for the provider %s cannot be read: %s", p.Issuer, clean(err.Error()))
	}
	d, found := discover(ctx, client, p.Issuer)
	if !found.OK {
		return found
	}
	t := trial{provider: p, endpoints: d, client: client, verifier: rand.Text() + rand.Text()}
	if p.ClientSecretFile != "" {
		raw, err := readFile(p.ClientSecretFile, maxReport)
		if err != nil {
			return wrong(clientRefused, "the secret of the client %s cannot be read: %s", quote(p.ClientID), clean(err.Error()))
		}
		// As it is: the plugin does not strip a line's end either, and the provider would refuse that.
		t.secret = string(raw)
		if t.secret == "" {
			return wrong(clientRefused, "the secret of the client %s is empty", quote(p.ClientID))
		}
	}
	if found := t.authorize(ctx); !found.OK {
		return found
	}
	return t.redeem(ctx)
}

// authorize asks for a code as a browser would, but says that no person is there (prompt=none).
func (t *trial) authorize(ctx context.Context) finding {
	address, err := url.Parse(t.endpoints.AuthorizationEndpoint)
	if err != nil {
		return wrong(providerInvalid, "the provider %s has no authorization_endpoint", t.provider.Issuer)
	}
	challenge := sha256.Sum256([]byte(t.verifier))
	query := address.Query() // an endpoint may have one (RFC 6749, section 3.1)
	for name, value := range map[string]string{
		"response_type":         "code",
		"client_id":             t.provider.ClientID,
		"redirect_uri":          t.provider.RedirectURL,
		"scope":                 strings.Join(t.provider.Scopes, " "),
		"state":                 rand.Text(),
		"code_challenge":        base64.RawURLEncoding.EncodeToString(challenge[:]),
		"code_challenge_method": "S256",
		"prompt":                "none",
	} {
		query.Set(name, value)
	}
	address.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return wrong(providerInvalid, "the provider %s has no authorization_endpoint", t.provider.Issuer)
	}
	request.Header.Set("Accept", "text/html")
	answer, err := t.send(request)
	if err != nil {
		return wrong(providerUnreachable, "the provider %s cannot be reached: %s", t.provider.Issuer, cause(err))
	}
	return t.judgeAuthorization(answer)
}

// answer is what a provider answered, with its error (RFC 6749, sections 4.1.2.1 and 5.2), if it has one.
type answer struct {
	code        int
	location    *url.URL
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (t *trial) send(request *http.Request) (answer, error) {
	request.Header.Set("User-Agent", userAgent())
	response, err := t.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{code: response.StatusCode}
	if location, err := response.Location(); err == nil && a.code >= 300 && a.code < 400 {
		a.location = location
		a.Error, a.Description = location.Query().Get("error"), location.Query().Get("error_description")
		return a, nil
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return answer{}, err
	}
	// A page for people is no JSON, and says nothing that could be quoted.
	_ = json.Unmarshal(raw, &a)
	return a, nil
}

// judgeAuthorization: a provider must not redirect to a client that it does not know (section 4.1.2.1), so it says no with
// a status of its own. If it knows the client, it misses the person, and says so to the redirect URL.
func (t *trial) judgeAuthorization(a answer) finding {
	switch {
	case passing(a.code):
		return t.outOfOrder(a, "authorization_endpoint")
	case a.location == nil && refusing(a.code), a.blamesClient():
		return wrong(clientRefused, "the provider %s does not know the client %s, or not with the redirect URL %s (%s): register both there",
			t.provider.Issuer, quote(t.provider.ClientID), quote(t.provider.RedirectURL), t.words(a))
	case a.Error == "invalid_scope":
		return wrong(clientRefused, "the provider %s does not give the client %s the scopes %s (%s): allow them there, or ask for fewer",
			t.provider.Issuer, quote(t.provider.ClientID), quote(strings.Join(t.provider.Scopes, " ")), t.words(a))
	default:
		return finding{OK: true}
	}
}

// passing says that something in front of the provider answered, which is not there at the moment.
func passing(code int) bool {
	return code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}

func refusing(code int) bool {
	switch code {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	return code >= 500
}

// blamesClient looks at the error of a redirect: login_required and its like are what a provider says to a client that it
// knows.
func (a answer) blamesClient() bool {
	switch a.Error {
	case "unauthorized_client", "invalid_client", "unsupported_response_type":
		return true
	case "invalid_request":
		text := strings.ToLower(a.Description)
		return strings.Contains(text, "client") || strings.Contains(text, "redirect")
	}
	return false
}

// redeem tries a code that the provider never gave. It looks at the client first, and then at the code (section 5.2).
func (t *trial) redeem(ctx context.Context) finding {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {rand.Text()},
		"redirect_uri":  {t.provider.RedirectURL},
		"code_verifier": {t.verifier},
	}
	basic := t.secret != "" && !t.postOnly()
	if !basic {
		form.Set("client_id", t.provider.ClientID)
	}
	if t.secret != "" && !basic {
		form.Set("client_secret", t.secret)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoints.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return wrong(providerInvalid, "the provider %s has no token_endpoint", t.provider.Issuer)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if basic { // each half encoded as in a form (section 2.3.1)
		request.SetBasicAuth(url.QueryEscape(t.provider.ClientID), url.QueryEscape(t.secret))
	}
	a, err := t.send(request)
	if err != nil {
		return wrong(providerUnreachable, "the provider %s cannot be reached: %s", t.provider.Issuer, cause(err))
	}
	return t.judgeToken(a)
}

// postOnly says that the provider takes the secret in the form, and not in a header.
func (t *trial) postOnly() bool {
	return slices.Contains(t.endpoints.TokenAuthMethods, "client_secret_post") && !slices.Contains(t.endpoints.TokenAuthMethods, "client_secret_basic")
}

func (t *trial) judgeToken(a answer) finding {
	refused := a.Error == "invalid_client" || a.Error == "unauthorized_client" || a.code == http.StatusUnauthorized
	switch {
	case refused && t.secret == "":
		return wrong(clientRefused, "the provider %s refuses the client %s without a secret (%s): register it as a public client, or give its secret",
			t.provider.Issuer, quote(t.provider.ClientID), t.words(a))
	case refused && strings.TrimSpace(t.secret) != t.secret:
		return wrong(clientRefused, "the provider %s refuses the secret of the client %s (%s): it begins or ends with white space, perhaps by accident",
			t.provider.Issuer, quote(t.provider.ClientID), t.words(a))
	case refused:
		return wrong(clientRefused, "the provider %s refuses the secret of the client %s (%s): give the secret that is registered there",
			t.provider.Issuer, quote(t.provider.ClientID), t.words(a))
	case passing(a.code):
		return t.outOfOrder(a, "token_endpoint")
	default:
		return fine("the provider %s knows the client %s with the redirect URL %s", t.provider.Issuer, quote(t.provider.ClientID), quote(t.provider.RedirectURL))
	}
}

func (t *trial) outOfOrder(a answer, endpoint string) finding {
	return wrong(providerUnreachable, "the provider %s is out of order: HTTP status %d on its %s", t.provider.Issuer, a.code, endpoint)
}

// words are what the provider said, without the secret, which it may have repeated.
func (t *trial) words(a answer) string {
	said := fmt.Sprintf("HTTP status %d", a.code)
	if a.Error != "" {
		said += ", " + quote(t.redact(a.Error))
	}
	if a.Description != "" {
		said += ": " + quote(t.redact(a.Description))
	}
	return said
}

func (t *trial) redact(text string) string {
	if t.secret == "" {
		return text
	}
	pair := url.QueryEscape(t.provider.ClientID) + ":" + url.QueryEscape(t.secret)
	for _, form := range []string{t.secret, strings.TrimSpace(t.secret), url.QueryEscape(t.secret), base64.StdEncoding.EncodeToString([]byte(pair))} {
		if form != "" {
			text = strings.ReplaceAll(text, form, "(the secret)")
		}
	}
	return text
}
