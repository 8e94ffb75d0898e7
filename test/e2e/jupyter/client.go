// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package jupyter is a small client of a running Jupyter server: its REST API (client.go) and its kernels over WebSocket
// (kernel.go). It behaves like a browser, so that its results are valid for users too.
//
// What may live here: the protocol of Jupyter. What may not: Kubernetes, and expectations of tests.
package jupyter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/jupyterserver/jupyter-server-operator/test/e2e/signin"
)

// Client is a client of one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client of the server at a URL such as http://jupyter.localhost:8000/alice/. The token is sent in a
// header, never in a URL: URLs end up in logs. An empty token is not sent.
func New(server, token string) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("URL of the server: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a server, such as http://jupyter.localhost:8000/alice/", server)
	}
	base.Path = strings.TrimSuffix(base.Path, "/") + "/"
	return &Client{base: base, token: token, http: &http.Client{
		Transport: &http.Transport{DialContext: signin.Dial},
		// A redirect to the login page is a result, so it is not followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// NewThrough returns a client of a server without a token that uses the HTTP client of a browser, whose cookies may contain a
// session.
func NewThrough(server string, browser *http.Client) (*Client, error) {
	client, err := New(server, "")
	if err != nil {
		return nil, err
	}
	once := *browser
	once.CheckRedirect = client.http.CheckRedirect
	client.http = &once
	return client, nil
}

// NewSignedIn is NewThrough for a browser with a session. It opens a page first, because Jupyter accepts modifying requests only
// with the _xsrf cookie of a page (jupyter_server/base/handlers.py, check_xsrf_cookie).
func NewSignedIn(ctx context.Context, server string, browser *http.Client) (*Client, error) {
	client, err := NewThrough(server, browser)
	if err != nil {
		return nil, err
	}
	return client, client.do(ctx, http.MethodGet, "lab", nil, nil)
}

// xsrf returns the value of the _xsrf cookie, or "".
func (c *Client) xsrf() string {
	if c.http.Jar == nil {
		return ""
	}
	for _, cookie := range c.http.Jar.Cookies(c.base) {
		if cookie.Name == "_xsrf" {
			return cookie.Value
		}
	}
	return ""
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is a response other than 2xx.
type StatusError struct {
	Method, Path string
	Code         int
	Body         string // its first bytes
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: HTTP status %d: %s", e.Method, e.Path, e.Code, e.Body)
}

// Code returns the HTTP status of an error of this package, or 0.
func Code(err error) int {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code
	}
	return 0
}

// Version returns the version of the Jupyter server, which needs no token.
func (c *Client) Version(ctx context.Context) (string, error) {
	anonymous := *c
	anonymous.token = ""
	var answer struct{ Version string }
	if err := anonymous.do(ctx, http.MethodGet, "api", nil, &answer); err != nil {
		return "", err
	}
	if answer.Version == "" {
		return "", fmt.Errorf("GET %sapi: the response has no version, so it is not from a Jupyter server", c.base.Path)
	}
	return answer.Version, nil
}

// Status requests the server's status, which needs the token.
func (c *Client) Status(ctx context.Context) error {
	var answer struct{ Started string }
	return c.do(ctx, http.MethodGet, "api/status", nil, &answer)
}

// PutFile writes a text file below the server's root folder.
func (c *Client) PutFile(ctx context.Context, path, text string) error {
	file := map[string]string{"type": "file", "format": "text", "content": text}
	return c.do(ctx, http.MethodPut, "api/contents/"+path, file, nil)
}

// Upload writes a file of zeros in one request, whose base64 body is a third larger.
func (c *Client) Upload(ctx context.Context, path string, size int) error {
	file := map[string]any{"type": "file", "format": "base64", "content": make([]byte, size)}
	return c.do(ctx, http.MethodPut, "api/contents/"+path, file, nil)
}

// File reads a text file below the server's root folder.
func (c *Client) File(ctx context.Context, path string) (string, error) {
	var file struct{ Content string }
	err := c.do(ctx, http.MethodGet, "api/contents/"+path+"?type=file&format=text", nil, &file)
	return file.Content, err
}

// do sends a request and decodes the response. The path is relative to the server's URL and may have a query.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	target, err := c.base.Parse(path)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, target.Path, err)
		}
		body = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, target.Path, err)
	}
	request.Header = c.header()
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, target.Path, errors.Unwrap(err)) // the outer error repeats the URL
	}
	defer response.Body.Close()
	return decode(response, out)
}

func (c *Client) header() http.Header {
	header := http.Header{}
	if c.token != "" {
		header.Set("Authorization", "token "+c.token)
	}
	if xsrf := c.xsrf(); xsrf != "" {
		header.Set("X-XSRFToken", xsrf)
	}
	return header
}

func decode(response *http.Response, out any) error {
	const limit = 32 << 20
	where := response.Request.Method + " " + response.Request.URL.Path
	raw, err := io.ReadAll(io.LimitReader(response.Body, limit))
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &StatusError{Method: response.Request.Method, Path: response.Request.URL.Path, Code: response.StatusCode, Body: start(raw)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s: HTTP status %d, but not JSON (%w): %s", where, response.StatusCode, err, start(raw))
	}
	return nil
}

// start returns the start of a response for an error message.
func start(raw []byte) string {
	const limit = 200
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(raw), "?")), " ")
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
