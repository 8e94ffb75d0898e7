// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package signin is a person with a browser, as far as signing in goes: cookies, redirects, and the form of the OpenID provider
// of package provider. The real browser is slower, and shows what a person sees; this one can be asked a hundred things.
//
// What may live here: HTTP as a browser speaks it. What may not: Kubernetes, Jupyter, and what is expected of a server.
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

// Agent is one browser with its cookies.
type Agent struct {
	// HTTP follows redirects and keeps cookies.
	HTTP *http.Client
}

// Page is what a browser ends up with.
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
		panic(err) // it takes no options that could be wrong
	}
	// The ingress controller of a test has a certificate that it made itself.
	transport := &http.Transport{DialContext: Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return &Agent{HTTP: &http.Client{Jar: jar, Timeout: 10 * time.Minute, Transport: transport}}
}

// Dial resolves names below localhost as browsers do (RFC 6761, section 6.3); Go's resolver leaves them to the system.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && strings.HasSuffix(host, ".localhost") {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// Close gives up idle connections.
func (a *Agent) Close() { a.HTTP.CloseIdleConnections() }

// Open opens a page as somebody does who types its address, and follows redirects.
func (a *Agent) Open(ctx context.Context, address string) (Page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Page{}, err
	}
	request.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return a.do(a.HTTP, request)
}

// Ask sends a request as a script does, and follows no redirects. Header may be nil.
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
		return Page{}, fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, errors.Unwrap(err)) // what it wraps repeats the URL
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 32<<20))
	if err != nil {
		return Page{}, fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err)
	}
	return Page{URL: response.Request.URL, Status: response.StatusCode, Header: response.Header, Body: string(body)}, nil
}

// hidden finds the provider's name of the sign-in that its form is for.
var hidden = regexp.MustCompile(`<input type="hidden" name="id" value="([^"]+)">`)

// SignIn opens a page, is led to the provider, signs in there, and returns where it ends up.
func (a *Agent) SignIn(ctx context.Context, address, username, password string) (Page, error) {
	form, err := a.Open(ctx, address)
	if err != nil {
		return Page{}, err
	}
	id := hidden.FindStringSubmatch(form.Body)
	if id == nil {
		return form, fmt.Errorf("%s leads to %s (HTTP status %d), which is no sign-in form", address, form.URL, form.Status)
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
