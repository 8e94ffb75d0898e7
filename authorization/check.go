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
	"regexp"
	"slices"
	"strings"
	"time"
)

// checkCommandTimeout bounds the whole command `check`.
const checkCommandTimeout = 10 * time.Second

// runCheck is the command `check`: it tests before the server starts whether users can sign in. It exits with 0 whatever the
// result, because a provider that is down must not keep a server from starting.
func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags, configFile := newFlags("check", stderr)
	if code, ok := parse(flags, args, configFile, stderr); !ok {
		return code
	}
	c, _, err := readConfig(*configFile)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err) // `serve` fails with the same error
		return exitOK
	}
	ctx, cancel := context.WithTimeout(ctx, checkCommandTimeout)
	defer cancel()
	found := testClient(ctx, c.Provider)
	fmt.Fprintln(stdout, found.Message)
	if err := writeReport(c.Provider.Report, found); err != nil {
		fmt.Fprintln(stderr, "error: writing the report:", err)
	}
	return exitOK
}

// clientTest is one attempt to use the client at the provider.
type clientTest struct {
	provider  provider
	endpoints document

	client   *http.Client
	secret   string
	verifier string // PKCE
	unproved string // the answer of the authorization endpoint that proves nothing about the client; empty: it does
}

// testClient takes the steps of a sign-in that need no user interaction.
func testClient(ctx context.Context, p provider) finding {
	client, err := newProviderClient(p.CAFile)
	if err != nil {
		return failure(providerUnreachable, "cannot read the CA certificates for the provider %s: %s", p.Issuer, clean(err.Error()))
	}
	d, found := discover(ctx, client, p.Issuer)
	if !found.OK {
		return found
	}
	t := clientTest{provider: p, endpoints: d, client: client, verifier: rand.Text() + rand.Text()}
	if p.ClientSecretFile != "" {
		raw, err := readFile(p.ClientSecretFile, maxReport)
		if err != nil {
			return failure(clientRefused, "cannot read the secret of the client %s: %s", quote(p.ClientID), clean(err.Error()))
		}
		// Unchanged: the plugin does not strip a newline either, and the provider would reject it.
		t.secret = string(raw)
		if t.secret == "" {
			return failure(clientRefused, "the secret of the client %s is empty", quote(p.ClientID))
		}
	}
	if found := t.authorize(ctx); !found.OK {
		return found
	}
	return t.redeem(ctx)
}

// authorize requests a code like a browser, but without user interaction (prompt=none).
func (t *clientTest) authorize(ctx context.Context) finding {
	address, err := url.Parse(t.endpoints.AuthorizationEndpoint)
	if err != nil {
		return failure(providerInvalid, "the provider %s has no authorization_endpoint", t.provider.Issuer)
	}
	challenge := sha256.Sum256([]byte(t.verifier))
	query := address.Query() // an endpoint may have a query (RFC 6749, section 3.1)
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
		return failure(providerInvalid, "the provider %s has no authorization_endpoint", t.provider.Issuer)
	}
	request.Header.Set("Accept", "text/html")
	response, err := t.send(request)
	if err != nil {
		return failure(providerUnreachable, "the provider %s cannot be reached: %s", t.provider.Issuer, cause(err))
	}
	return t.checkAuthorization(response)
}

// providerResponse is a response of the provider with its error, if any (RFC 6749, sections 4.1.2.1 and 5.2).
type providerResponse struct {
	code        int
	location    *url.URL
	text        string // of a page
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (t *clientTest) send(request *http.Request) (providerResponse, error) {
	request.Header.Set("User-Agent", userAgent())
	response, err := t.client.Do(request)
	if err != nil {
		return providerResponse{}, err
	}
	defer response.Body.Close()
	a := providerResponse{code: response.StatusCode}
	if location, err := response.Location(); err == nil && a.code >= 300 && a.code < 400 {
		a.location = location
		a.Error, a.Description = location.Query().Get("error"), location.Query().Get("error_description")
		return a, nil
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return providerResponse{}, err
	}
	// An HTML page is not JSON and has no error to quote.
	_ = json.Unmarshal(raw, &a)
	a.text = string(raw)
	return a, nil
}

// checkAuthorization evaluates the response of the authorization endpoint. A provider must not redirect to a client that it
// does not know (section 4.1.2.1), so it responds with an error status. If it knows the client, it redirects with the error
// that a user is missing. Other errors, such as those of a provider that does not know prompt=none, or of a firewall that keeps
// programs out, prove nothing about the client.
func (t *clientTest) checkAuthorization(a providerResponse) finding {
	switch {
	case isGatewayError(a.code):
		return t.outage(a, "authorization_endpoint")
	case a.blamesClient():
		return failure(clientRefused, "the provider %s does not know the client %s or its redirect URL %s (%s): register both there",
			t.provider.Issuer, quote(t.provider.ClientID), quote(t.provider.RedirectURL), t.quoteResponse(a))
	case a.Error == "invalid_scope":
		return failure(clientRefused, "the provider %s does not grant the client %s the scopes %s (%s): allow them there, or request fewer",
			t.provider.Issuer, quote(t.provider.ClientID), quote(strings.Join(t.provider.Scopes, " ")), t.quoteResponse(a))
	case a.code >= http.StatusBadRequest:
		t.unproved = t.quoteResponse(a)
	}
	return finding{OK: true}
}

// isGatewayError reports whether a gateway answered because the provider is not available.
func isGatewayError(code int) bool {
	return code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}

// aboutClient finds what providers say about a client that they reject: a parameter by its name, an error code, or a word such as
// unknown near the client.
var aboutClient = regexp.MustCompile(`(?i)\b(client[ _-]?id|redirect[ _-]?ur[il]|(invalid|unauthorized)[ _-]client)\b` +
	`|\b(unknown|invalid|unregistered|disabled)\b.{0,40}\bclient\b|\bclient\b.{0,40}\b(unknown|invalid|not (found|known|registered|allowed|exist)|does not exist|disabled)\b`)

// markup is what a page holds beside its text.
var markup = regexp.MustCompile(`(?is)<(script|style)\b.*?</(script|style)>|<[^>]*>`)

// blamesClient reports whether an error is about the client. login_required and the like mean that the provider knows the client.
func (a providerResponse) blamesClient() bool {
	switch a.Error {
	case "unauthorized_client", "invalid_client", "unsupported_response_type":
		return true
	case "invalid_request":
		return aboutClient.MatchString(a.Description)
	case "":
		isRejection := a.code == http.StatusBadRequest || a.code == http.StatusUnauthorized || a.code == http.StatusNotFound
		return isRejection && aboutClient.MatchString(markup.ReplaceAllString(a.text, " "))
	}
	return false
}

// redeem sends a code that the provider never issued. The provider authenticates the client before it checks the code (section
// 5.2).
func (t *clientTest) redeem(ctx context.Context) finding {
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
		return failure(providerInvalid, "the provider %s has no token_endpoint", t.provider.Issuer)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if basic { // each half encoded as in a form (section 2.3.1)
		request.SetBasicAuth(url.QueryEscape(t.provider.ClientID), url.QueryEscape(t.secret))
	}
	a, err := t.send(request)
	if err != nil {
		return failure(providerUnreachable, "the provider %s cannot be reached: %s", t.provider.Issuer, cause(err))
	}
	return t.checkToken(a)
}

// postOnly reports whether the provider accepts the secret only in the form, not in a header.
func (t *clientTest) postOnly() bool {
	return slices.Contains(t.endpoints.TokenAuthMethods, "client_secret_post") && !slices.Contains(t.endpoints.TokenAuthMethods, "client_secret_basic")
}

func (t *clientTest) checkToken(a providerResponse) finding {
	rejected := a.Error == "invalid_client" || a.Error == "unauthorized_client" || a.code == http.StatusUnauthorized
	switch {
	case rejected && t.secret == "":
		return failure(clientRefused, "the provider %s rejects the client %s without a secret (%s): register it as a public client, or configure its secret",
			t.provider.Issuer, quote(t.provider.ClientID), t.quoteResponse(a))
	case rejected && strings.TrimSpace(t.secret) != t.secret:
		return failure(clientRefused, "the provider %s rejects the secret of the client %s (%s): it begins or ends with white space, remove that",
			t.provider.Issuer, quote(t.provider.ClientID), t.quoteResponse(a))
	case rejected:
		return failure(clientRefused, "the provider %s rejects the secret of the client %s (%s): configure the secret that is registered there",
			t.provider.Issuer, quote(t.provider.ClientID), t.quoteResponse(a))
	case isGatewayError(a.code):
		return t.outage(a, "token_endpoint")
	case t.unproved != "":
		return success("the provider %s accepts the client %s; whether it knows the redirect URL %s could not be tried (%s)",
			t.provider.Issuer, quote(t.provider.ClientID), quote(t.provider.RedirectURL), t.unproved)
	default:
		return success("the provider %s knows the client %s with the redirect URL %s", t.provider.Issuer, quote(t.provider.ClientID), quote(t.provider.RedirectURL))
	}
}

func (t *clientTest) outage(a providerResponse, endpoint string) finding {
	return failure(providerUnreachable, "the provider %s is unavailable: HTTP status %d on its %s", t.provider.Issuer, a.code, endpoint)
}

// quoteResponse returns the status and the error of a response, without the secret, which the provider may have repeated.
func (t *clientTest) quoteResponse(a providerResponse) string {
	said := fmt.Sprintf("HTTP status %d", a.code)
	if a.Error != "" {
		said += ", " + quote(t.redact(a.Error))
	}
	if a.Description != "" {
		said += ": " + quote(t.redact(a.Description))
	}
	return said
}

func (t *clientTest) redact(text string) string {
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
