// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newTestHandler returns a handler with the rules of a configuration.
func newTestHandler(log *journal, c *config) *handler {
	r := newRules(c)
	return &handler{
		rules:     func() *rules { return r },
		decisions: newDecisionLog(log.logger()),
		metrics:   newMetrics(),
		logger:    log.logger(),
		pages:     newPages(),
		now:       time.Now,
		signedIn:  new(atomic.Bool),
	}
}

type reply struct {
	code   int
	header http.Header
	body   string
}

// ask sends a request over the network with exactly this header.
func ask(t testing.TB, address string, header http.Header) reply {
	t.Helper()
	got, err := get(t.Context(), address, header)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func get(ctx context.Context, address string, header http.Header) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return reply{}, err
	}
	maps.Copy(request.Header, header)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(body)}, err
}

func TestAllowed(t *testing.T) {
	var log journal
	h := newTestHandler(&log, testConfig())
	server := httptest.NewServer(h)
	defer server.Close()

	if h.signedIn.Load() {
		t.Error("signedIn is set before the first identity")
	}
	got := ask(t, server.URL, headers(userHeader, "u-1", emailHeader, "a@example.org", groupsHeader, "a,b", nameHeader, "Ann",
		"Cookie", "_xsrf=1; "+session+"=s", "Cookie", "a=2"))
	if got.code != http.StatusOK || got.body != "" {
		t.Fatalf("HTTP status %d, %q", got.code, got.body)
	}
	if cookies := got.header.Values("Cookie"); len(cookies) != 1 || cookies[0] != "_xsrf=1; a=2" {
		t.Errorf("Cookie: %q", cookies)
	}
	for name := range got.header {
		if strings.HasPrefix(name, "X-") || name == "Set-Cookie" {
			t.Errorf("the response contains %s", name)
		}
	}
	got = ask(t, server.URL, headers(userHeader, "u-1", "Cookie", session+"=s"))
	if _, found := got.header["Cookie"]; got.code != http.StatusOK || found {
		t.Errorf("the Cookie header is not removed when no other cookie is left: %d %v", got.code, got.header)
	}
	if !h.signedIn.Load() {
		t.Error("signedIn is not set after an identity")
	}
}

func TestDenied(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	stranger := []string{userHeader, "u-9", emailHeader, "eve@example.org", nameHeader, "<b>Eve</b>"}
	for name, test := range map[string]struct {
		reason string
		header http.Header
		page   bool
		want   reason
	}{
		"browser": {
			"A browser navigates to a page.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/lab?token=abc")...), true, notAllowed},
		"HEAD": {
			"HEAD is treated like GET.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "HEAD", "X-Forwarded-Uri", "/alice/lab")...), true, notAllowed},
		"file named api": {
			"The path is a page of Jupyter, not its API.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/lab/tree/api/x")...), true, notAllowed},
		"API": {
			"A script calls the API.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/api/contents?x=text/html")...), false, notAllowed},
		"terminal": {
			"Terminals are an API.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/terminals/websocket/1")...), false, notAllowed},
		"language server": {
			"Language servers are an API.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/lsp/ws")...), false, notAllowed},
		"POST": {
			"POST is not a navigation.",
			headers(append(stranger, "Accept", browser, "X-Forwarded-Method", "POST", "X-Forwarded-Uri", "/alice/lab")...), false, notAllowed},
		"program": {
			"The client does not accept HTML.",
			headers(append(stranger, "Accept", "*/*", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/lab")...), false, notAllowed},
		"no method": {
			"The request is not from the proxy.",
			headers(append(stranger, "Accept", browser)...), false, notAllowed},
		"no identity": {
			"The plugin handles requests without a session, so this is an error or an attack.",
			headers("Accept", browser, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/lab"), false, noIdentity},
		"two": {
			"A duplicated header is an error or an attack.",
			headers(userHeader, "u-1", userHeader, "u-1", "Accept", browser, "X-Forwarded-Method", "GET"), false, duplicateIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			h := newTestHandler(&log, testConfig())
			server := httptest.NewServer(h)
			defer server.Close()
			test.header.Set("Cookie", session+"=TheSession")
			got := ask(t, server.URL, test.header)
			if got.code != http.StatusForbidden {
				t.Fatalf("HTTP status %d", got.code)
			}
			checkHardened(t, got)
			if test.page {
				checkRefusedPage(t, got)
			} else {
				checkRefusedJSON(t, got, test.want)
			}
			if n := h.metrics.decisions[test.want].Load(); n != 1 {
				t.Errorf("%d decisions counted", n)
			}
			if lines := log.lines("decision"); len(lines) != 1 || lines[0]["reason"] != string(test.want) {
				t.Errorf("log: %s", log.String())
			}
			for _, secret := range []string{"TheSession", "token=", "abc", "x=text"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("%q is in the log: %s", secret, log.String())
				}
			}
		})
	}
}

func checkHardened(t *testing.T, got reply) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %q", name, got.header.Get(name))
		}
	}
	if _, found := got.header["Cookie"]; found {
		t.Error("the response to the client contains cookies")
	}
}

func checkRefusedJSON(t *testing.T, got reply, want reason) {
	t.Helper()
	var response struct{ Message, Reason string }
	if err := json.Unmarshal([]byte(got.body), &response); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	if got.header.Get("Content-Type") != "application/json" || response.Message == "" || response.Reason != string(want) {
		t.Errorf("%v %s", got.header, got.body)
	}
}

func checkRefusedPage(t *testing.T, got reply) {
	t.Helper()
	checkPage(t, got)
	for _, want := range []string{
		"server <strong><bdi>alice</bdi></strong>", "&lt;b&gt;Eve&lt;/b&gt;", "eve@example.org", "u-9", "the owner of this server",
		`href="/alice/oauth2/sign_out?rd=%2Falice%2Foauth2%2Fsigned-out"`, "Sign out",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page does not contain %q:\n%s", want, got.body)
		}
	}
	if strings.Contains(got.body, "<b>Eve") {
		t.Errorf("the name is not escaped:\n%s", got.body)
	}
}

// checkPage checks that a page fits phones, loads nothing, and has the style that its policy allows.
func checkPage(t *testing.T, got reply) {
	t.Helper()
	if got.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("Content-Type: %s", got.header.Get("Content-Type"))
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(got.body)
	if style == nil {
		t.Fatalf("no style:\n%s", got.body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	policy := fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		base64.StdEncoding.EncodeToString(sum[:]))
	if got.header.Get("Content-Security-Policy") != policy {
		t.Errorf("Content-Security-Policy: %s\nwant %s", got.header.Get("Content-Security-Policy"), policy)
	}
	if !strings.Contains(got.body, `<meta name="viewport" content="width=device-width, initial-scale=1">`) {
		t.Error("the viewport is missing")
	}
	if found := regexp.MustCompile(`(?i)<(script|img|link|iframe|form)|src=|style=|url\(|@import| on[a-z]+=`).FindString(got.body); found != "" {
		t.Errorf("the page contains %q:\n%s", found, got.body)
	}
}

func TestDeniedWithBrokenRules(t *testing.T) {
	var log journal
	h := newTestHandler(&log, testConfig())
	broken := h.rules().broken(io.ErrUnexpectedEOF)
	h.rules = func() *rules { return broken }
	server := httptest.NewServer(h)
	defer server.Close()
	got := ask(t, server.URL, headers(userHeader, "u-1", "Accept", "text/html", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/"))
	if got.code != http.StatusForbidden || !strings.Contains(got.body, "This server is not available") {
		t.Errorf("%d %s", got.code, got.body)
	}
	checkPage(t, got)
	got = ask(t, server.URL, headers(userHeader, "u-1"))
	if got.code != http.StatusForbidden {
		t.Errorf("%d %s", got.code, got.body)
	}
	checkRefusedJSON(t, got, rulesInvalid)
}

func TestSignedOut(t *testing.T) {
	var log journal
	server := httptest.NewServer(newTestHandler(&log, testConfig(func(c *config) { c.Provider.Issuer = "https://accounts.example.org" })))
	defer server.Close()
	got := ask(t, server.URL+"/alice/oauth2/signed-out?x=y", nil)
	if got.code != http.StatusOK {
		t.Fatalf("HTTP status %d", got.code)
	}
	checkHardened(t, got)
	checkPage(t, got)
	for _, want := range []string{"You are signed out", "alice", "https://accounts.example.org", `href="/alice/"`, "Sign in again"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page does not contain %q:\n%s", want, got.body)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/alice/oauth2/signed-out", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: HTTP status %d", response.StatusCode)
	}
}

// Only / decides. A 2xx on another path would allow a request if the proxy ever asked there.
func TestOtherPaths(t *testing.T) {
	var log journal
	h := newTestHandler(&log, testConfig())
	server := httptest.NewUnstartedServer(h)
	s := &service{logger: log.logger()}
	server.Config = s.newServer(h)
	server.Start()
	defer server.Close()
	for _, line := range []string{
		"GET // HTTP/1.1", "GET /alice HTTP/1.1", "GET /x/../ HTTP/1.1", "GET /%2f HTTP/1.1", "GET /healthz HTTP/1.1", "GET /metrics HTTP/1.1",
		"OPTIONS * HTTP/1.1", "CONNECT localhost:1 HTTP/1.1", "GET /signed-outx HTTP/1.1", "GET /signed-out/ HTTP/1.1",
	} {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(connection, "%s\r\nHost: x\r\n%s: u-1\r\nConnection: close\r\n\r\n", line, userHeader)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: HTTP status %d", line, response.StatusCode)
		}
		response.Body.Close()
		connection.Close()
	}
}

func TestHeaderSizes(t *testing.T) {
	var log journal
	h := newTestHandler(&log, testConfig())
	server := httptest.NewUnstartedServer(h)
	server.Config = (&service{logger: log.logger()}).newServer(h)
	server.Start()
	defer server.Close()
	if got := ask(t, server.URL, headers(userHeader, "x", groupsHeader, strings.Repeat("some-group,", 5500)+"staff")); got.code != http.StatusOK {
		t.Errorf("60 KiB of groups: HTTP status %d", got.code)
	}
	if got := ask(t, server.URL, headers(userHeader, "u-1", groupsHeader, strings.Repeat("g", 100<<10))); got.code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("100 KiB of groups: HTTP status %d", got.code)
	}
}

// sink is a ResponseWriter that discards everything.
type sink struct{ header http.Header }

func (s sink) Header() http.Header         { return s.header }
func (s sink) Write(p []byte) (int, error) { return len(p), nil }
func (s sink) WriteHeader(int)             {}

func BenchmarkDecision(b *testing.B) {
	for name, header := range map[string]http.Header{
		"allowed": headers(userHeader, "x", emailHeader, "BOB@example.org", groupsHeader, "a,b,c,d,e,f"),
		"group":   headers(userHeader, "x", emailHeader, "c@example.org", groupsHeader, strings.Repeat("some-group,", 100)+"staff"),
		"denied":  headers(userHeader, "x", emailHeader, "c@example.org", groupsHeader, "a,b,c"),
		"page":    headers(userHeader, "x", "Accept", "text/html", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/alice/lab?x=y"),
	} {
		b.Run(name, func(b *testing.B) {
			var log journal
			h := newTestHandler(&log, testConfig())
			h.decisions.logger = slog.New(slog.DiscardHandler)
			request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
			request.Header = header
			request.Header.Set("Cookie", "_xsrf=2|7586b241|47c876d965112a2f547c63c95cbc44b1|1402910163; "+
				session+"_0="+strings.Repeat("s", 4000)+"; "+session+"_1="+strings.Repeat("s", 900)+"; username-localhost-8888=x")
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(sink{http.Header{}}, request)
			}
		})
	}
}
