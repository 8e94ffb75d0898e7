// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package signin is a minimal browser for signing in: cookies, redirects, and the form of the OpenID provider of package provider. A
// real browser is slower; this one can make hundreds of requests.
//
// What may live here: HTTP as used by browsers. What may not: Kubernetes, Jupyter, and expectations of tests.
package signin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Agent is a browser with its cookies.
type Agent struct {
	// HTTP follows redirects and keeps cookies.
	HTTP *http.Client
}

// Page is the page that a browser shows.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
}

// New returns a browser without cookies.
func New() *Agent {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // there are no options
	}
	// The ingress controller of tests has a self-signed certificate.
	transport := &http.Transport{DialContext: Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return &Agent{HTTP: &http.Client{Jar: jar, Timeout: 10 * time.Minute, Transport: transport}}
}

// Dial resolves names below localhost like browsers (RFC 6761, section 6.3); Go's resolver leaves them to the system.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && strings.HasSuffix(host, ".localhost") {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// Close closes idle connections.
func (a *Agent) Close() { a.HTTP.CloseIdleConnections() }

// Open opens a page like a user who types its address, and follows redirects.
func (a *Agent) Open(ctx context.Context, address string) (Page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Page{}, err
	}
	request.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return a.do(a.HTTP, request)
}

// Ask sends a request like a script, without following redirects. Header may be nil.
func (a *Agent) Ask(ctx context.Context, method, address string, header http.Header) (Page, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return Page{}, err
	}
	if header != nil {
		request.Header = header.Clone()
	}
	once := *a.HTTP
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a.do(&once, request)
}

func (a *Agent) do(client *http.Client, request *http.Request) (Page, error) {
	response, err := client.Do(request)
	if err != nil {
		return Page{}, fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, errors.Unwrap(err)) // the outer error repeats the URL
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 32<<20))
	if err != nil {
		return Page{}, fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err)
	}
	return Page{URL: response.Request.URL, Status: response.StatusCode, Header: response.Header, Body: string(body)}, nil
}

// hidden matches the ID of the sign-in in the provider's form.
var hidden = regexp.MustCompile(`<input type="hidden" name="id" value="([^"]+)">`)

// SignIn opens a page, follows the redirect to the provider, signs in, and returns the resulting page.
func (a *Agent) SignIn(ctx context.Context, address, username, password string) (Page, error) {
	form, err := a.Open(ctx, address)
	if err != nil {
		return Page{}, err
	}
	id := hidden.FindStringSubmatch(form.Body)
	if id == nil {
		return form, fmt.Errorf("%s redirects to %s (HTTP status %d), which is not a sign-in form", address, form.URL, form.Status)
	}
	action, err := form.URL.Parse("/login")
	if err != nil {
		return Page{}, err
	}
	values := url.Values{"id": {id[1]}, "username": {username}, "password": {password}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return Page{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "text/html")
	return a.do(a.HTTP, request)
}
