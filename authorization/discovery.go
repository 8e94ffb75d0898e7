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
	providerUnreachable = "ProviderUnreachable" // no response, or a temporary error
	providerInvalid     = "ProviderInvalid"     // a response, but not of the configured provider
	clientRefused       = "ClientRefused"       // the client, its redirect URL or its secret is rejected
)

// finding is the known state of the provider. Its message is one sentence for an administrator.
type finding struct {
	OK      bool   `json:"ok"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func success(format string, args ...any) finding {
	return finding{OK: true, Message: fmt.Sprintf(format, args...)}
}

func failure(reason, format string, args ...any) finding {
	return finding{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

const (
	providerTimeout = 5 * time.Second
	maxDocument     = 1 << 20
)

// document is the used part of the provider metadata (OpenID Connect Discovery 1.0, section 3).
type document struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
}

// newProviderClient returns a client that follows no redirects and trusts the certificates of the system and of a file.
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
			return nil, fmt.Errorf("%s: no PEM certificate found", caFile)
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
		CheckRedirect: noRedirects,
	}, nil
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// followSameOrigin follows a few redirects within the origin of the provider.
func followSameOrigin(next *http.Request, before []*http.Request) error {
	const most = 3
	first := before[0].URL
	if len(before) > most || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// discover reads the provider metadata (section 4) and compares it with the configured issuer.
func discover(ctx context.Context, client *http.Client, issuer string) (document, finding) {
	address := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	following := *client
	following.CheckRedirect = followSameOrigin
	code, raw, err := fetch(ctx, &following, address)
	switch {
	case err != nil:
		return document{}, failure(providerUnreachable, "the provider %s cannot be reached: %s", issuer, cause(err))
	case code >= 500 || code == http.StatusTooManyRequests:
		return document{}, failure(providerUnreachable, "the provider %s is unavailable: HTTP status %d on %s", issuer, code, address)
	case code != http.StatusOK:
		return document{}, failure(providerInvalid, "no OpenID provider at %s: HTTP status %d on %s", issuer, code, address)
	case len(raw) > maxDocument:
		return document{}, failure(providerInvalid, "no OpenID provider at %s: %s is too large", issuer, address)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return document{}, failure(providerInvalid, "no OpenID provider at %s: %s is not a JSON object", issuer, address)
	}
	return d, d.check(issuer)
}

// fetch returns the status and at most maxDocument+1 bytes of the body.
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

// check implements section 4.3: a different issuer is a different provider, even if only a trailing slash differs.
func (d document) check(issuer string) finding {
	if d.Issuer != issuer {
		return failure(providerInvalid, "the provider at %s reports the issuer %s: set the issuer URL to exactly that value", issuer, quote(d.Issuer))
	}
	for _, endpoint := range []struct{ field, address string }{
		{"authorization_endpoint", d.AuthorizationEndpoint},
		{"token_endpoint", d.TokenEndpoint},
	} {
		if !isHTTP(endpoint.address) {
			return failure(providerInvalid, "the provider %s has no %s", issuer, endpoint.field)
		}
		if isHTTPS(issuer) && !isHTTPS(endpoint.address) {
			return failure(providerInvalid, "the %s of the provider %s is not https: %s", endpoint.field, issuer, quote(endpoint.address))
		}
	}
	return success("the provider %s is available", issuer)
}

func isHTTPS(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https"
}
