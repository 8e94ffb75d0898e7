// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Reasons why the provider does not work.
const (
	providerUnreachable = "ProviderUnreachable" // no answer, or one that may pass
	providerInvalid     = "ProviderInvalid"     // an answer, but not that of the configured provider
	clientRefused       = "ClientRefused"       // it does not know the client, its redirect URL or its secret
)

// finding is what is known about the provider. Its message is one sentence for an admin.
type finding struct {
	OK      bool   `json:"ok"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func fine(format string, args ...any) finding {
	return finding{OK: true, Message: fmt.Sprintf(format, args...)}
}

func wrong(reason, format string, args ...any) finding {
	return finding{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

const (
	providerTimeout = 5 * time.Second
	maxDocument     = 1 << 20
)

// document is what a provider says of itself (OpenID Connect Discovery 1.0, section 3): the part that is used here.
type document struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
}

// newProviderClient returns a client that follows no redirect, and trusts the system's certificates and those of a file.
func newProviderClient(caFile string) (*http.Client, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // an image need not have any
		}
		raw, err := readFile(caFile, maxDocument)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s: there is no PEM certificate in it", caFile)
		}
		trust.RootCAs = pool
	}
	return &http.Client{
		Timeout: providerTimeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        trust,
			DisableKeepAlives:      true, // the next request is a minute away
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: dontFollow,
	}, nil
}

func dontFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// followAtHome follows a few redirects that stay with the provider.
func followAtHome(next *http.Request, before []*http.Request) error {
	const most = 3
	first := before[0].URL
	if len(before) > most || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// discover reads what the provider says of itself (section 4), and holds it against the configured issuer.
func discover(ctx context.Context, client *http.Client, issuer string) (document, finding) {
	address := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	following := *client
	following.CheckRedirect = followAtHome
	code, raw, err := fetch(ctx, &following, address)
	switch {
	case err != nil:
		return document{}, wrong(providerUnreachable, "the provider %s cannot be reached: %s", issuer, cause(err))
	case code >= 500 || code == http.StatusTooManyRequests:
		return document{}, wrong(providerUnreachable, "the provider %s is out of order: HTTP status %d on %s", issuer, code, address)
	case code != http.StatusOK:
		return document{}, wrong(providerInvalid, "there is no OpenID provider at %s: HTTP status %d on %s", issuer, code, address)
	case len(raw) > maxDocument:
		return document{}, wrong(providerInvalid, "there is no OpenID provider at %s: %s is too large", issuer, address)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return document{}, wrong(providerInvalid, "there is no OpenID provider at %s: %s is not the JSON of one", issuer, address)
	}
	return d, d.check(issuer)
}

// fetch returns the status and the first bytes of the body, one more than maxDocument at most.
func fetch(ctx context.Context, client *http.Client, address string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("User-Agent", userAgent())
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return 0, nil, err
	}
	return response.StatusCode, raw, nil
}

func userAgent() string { return "jupyter-server-authorization/" + version }

// check is section 4.3: another issuer is another provider, even if its URL differs by a slash alone.
func (d document) check(issuer string) finding {
	if d.Issuer != issuer {
		return wrong(providerInvalid, "the provider at %s calls itself %s: the issuer URL must be exactly that", issuer, quote(d.Issuer))
	}
	for _, endpoint := range []struct{ field, address string }{
		{"authorization_endpoint", d.AuthorizationEndpoint},
		{"token_endpoint", d.TokenEndpoint},
	} {
		if !isHTTP(endpoint.address) {
			return wrong(providerInvalid, "the provider %s has no %s", issuer, endpoint.field)
		}
		if isHTTPS(issuer) && !isHTTPS(endpoint.address) {
			return wrong(providerInvalid, "the %s of the provider %s is not https: %s", endpoint.field, issuer, quote(endpoint.address))
		}
	}
	return fine("the provider %s is there", issuer)
}

func isHTTPS(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https"
}
