// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// parts are fakes of the other containers of the pod.
type parts struct{ proxy, authentication, jupyter *recordingServer }

func newParts(t *testing.T, proxy, authentication, jupyter http.HandlerFunc) parts {
	t.Helper()
	return parts{newRecordingServer(t, proxy), newRecordingServer(t, authentication), newRecordingServer(t, jupyter)}
}

func (p parts) chain() chain {
	return chain{
		Proxy:          target{URL: p.proxy.URL + "/alice/api/status", Host: "jupyter.example.org"},
		Authentication: target{URL: p.authentication.URL + "/ping"},
		Jupyter:        target{URL: p.jupyter.URL + "/alice/api", Host: "localhost"},
	}
}

func (p parts) readiness(now func() time.Time) *readiness {
	r := newRules(testConfig(func(c *config) { c.Chain = p.chain() }))
	return newReadiness(func() *rules { return r }, func() finding { return finding{OK: true} }, now)
}

func TestReady(t *testing.T) {
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, test := range map[string]struct {
		reason                         string
		proxy, authentication, jupyter http.HandlerFunc
		part, message                  string // the failed check; empty if ready
	}{
		"401":                    {"The proxy denies, the others respond.", status(401), status(200), status(200), "", ""},
		"302":                    {"Some plugins also redirect scripts.", status(302), status(202), status(200), "", ""},
		"403":                    {"403 is a denial as well.", status(403), status(204), status(200), "", ""},
		"open":                   {"A 200 without a session means that the proxy is open.", status(200), status(200), status(200), "proxy", "the proxy allows requests without a session: HTTP status 200 on http://"},
		"open, 204":              {"Any 2xx means that the proxy is open.", status(204), status(200), status(200), "proxy", "the proxy allows requests without a session: "},
		"no route":               {"The proxy has not read its configuration.", status(404), status(200), status(200), "proxy", "the proxy has no route for the server yet"},
		"no middleware":          {"The proxy cannot reach the plugin.", status(500), status(200), status(200), "proxy", "the proxy returns HTTP status 500 on http://"},
		"moved":                  {"A plugin does not redirect with 308.", status(308), status(200), status(200), "proxy", "the proxy returns HTTP status 308"},
		"authentication starts":  {"The plugin is not ready.", status(401), status(503), status(200), "authentication", "authentication returns HTTP status 503 on http://"},
		"authentication hang-up": {"The plugin closes the connection.", status(401), hangUp, status(200), "authentication", "authentication is not reachable on 127.0.0.1:"},
		"jupyter elsewhere":      {"Jupyter's API does not redirect.", status(401), status(200), status(302), "jupyter", "Jupyter returns HTTP status 302"},
		"jupyter fails":          {"Jupyter returns an error.", status(401), status(200), status(500), "jupyter", "Jupyter returns HTTP status 500 on http://"},
	} {
		t.Run(name, func(t *testing.T) {
			expectNoGoroutinesLeft(t)
			p := newParts(t, test.proxy, test.authentication, test.jupyter)
			got := p.readiness(time.Now).report(context.Background())
			if got.Ready != (test.part == "") || len(got.Checks) != 4 {
				t.Errorf("%s\n%+v", test.reason, got)
			}
			for part, result := range got.Checks {
				if result.OK == (part == test.part) || part == test.part && !strings.HasPrefix(result.Message, test.message) {
					t.Errorf("%s\n%s: %+v", test.reason, part, result)
				}
			}
			request := p.proxy.seen()[0]
			if request.Host != "jupyter.example.org" || request.URL.Path != "/alice/api/status" || request.Header.Get("Cookie") != "" {
				t.Errorf("the proxy got a request for %s%s with %v", request.Host, request.URL, request.Header)
			}
			if host := p.jupyter.seen()[0].Host; host != "localhost" {
				t.Errorf("Jupyter got the Host %s", host)
			}
		})
	}
}

func TestReadyWithoutListeners(t *testing.T) {
	server := httptest.NewServer(status(200))
	address := server.Listener.Addr().String()
	server.Close()
	r := newRules(testConfig(func(c *config) {
		for _, t := range []*target{&c.Chain.Proxy, &c.Chain.Authentication, &c.Chain.Jupyter} {
			t.URL = "http://" + address + "/"
		}
	}))
	got := newReadiness(func() *rules { return r }, func() finding { return finding{OK: true} }, time.Now).report(context.Background())
	for part, name := range map[string]string{"proxy": "the proxy", "authentication": "authentication", "jupyter": "Jupyter"} {
		if want := name + " is not reachable on " + address + ": connection refused"; got.Checks[part].Message != want {
			t.Errorf("%s: %+v\nwant %s", part, got.Checks[part], want)
		}
	}
	if got.Ready {
		t.Error("got ready")
	}
}

func TestReadyTakesNoLongerThanASecond(t *testing.T) {
	expectNoGoroutinesLeft(t)
	done := make(chan struct{})
	hang := func(http.ResponseWriter, *http.Request) { <-done }
	p := newParts(t, hang, hang, hang)
	t.Cleanup(func() { close(done) })
	start := time.Now()
	got := p.readiness(time.Now).report(context.Background())
	if took := time.Since(start); took > 3*checkTimeout {
		t.Errorf("it took %s", took)
	}
	for _, part := range []string{"proxy", "authentication", "jupyter"} {
		if !strings.HasSuffix(got.Checks[part].Message, ": timeout") {
			t.Errorf("%s: %+v", part, got.Checks[part])
		}
	}
}

func TestReadyWithBrokenRules(t *testing.T) {
	p := newParts(t, status(401), status(200), status(200))
	r := newRules(testConfig(func(c *config) { c.Chain = p.chain() })).broken(errors.New("authorization.json: home: must be\na path"))
	got := newReadiness(func() *rules { return r }, func() finding { return finding{OK: true} }, time.Now).report(context.Background())
	want := "all requests are denied until the rules are valid again: authorization.json: home: must be a path"
	if got.Ready || got.Checks["rules"].Message != want || !got.Checks["jupyter"].OK {
		t.Errorf("%+v", got)
	}
}

func TestReadyWithoutProvider(t *testing.T) {
	p := newParts(t, status(401), status(200), status(200))
	r := p.readiness(time.Now)
	r.provider = func() finding { return failure(providerUnreachable, "it is down") }
	got := r.report(context.Background())
	if !got.Ready || got.Provider.OK || got.Provider.Reason != providerUnreachable || got.Provider.Message != "it is down" {
		t.Errorf("a problem of the provider made the pod unready: %+v", got)
	}
}

func TestReadyCachesResults(t *testing.T) {
	release := make(chan struct{})
	slow := func(w http.ResponseWriter, _ *http.Request) { <-release }
	p := newParts(t, status(401), status(200), slow)
	clock := newClock()
	r := p.readiness(clock.time)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if got := r.report(canceled); !got.Ready {
				t.Errorf("the first caller's cancellation failed the others: %+v", got)
			}
		})
	}
	eventually(t, "a check starts", func() bool { return len(p.jupyter.seen()) > 0 })
	close(release)
	group.Wait()
	if n := len(p.jupyter.seen()); n != 1 {
		t.Fatalf("20 concurrent calls made %d requests", n)
	}
	clock.advance(successTTL - 1)
	r.report(context.Background())
	if n := len(p.jupyter.seen()); n != 1 {
		t.Fatalf("a success was not cached: %d requests", n)
	}
	clock.advance(1)
	r.report(context.Background())
	if n := len(p.jupyter.seen()); n != 2 {
		t.Fatalf("got %d requests after the TTL, want 2", n)
	}
}

// A failure is cached only shortly, because the pod waits for a success.
func TestReadyCachesFailuresShortly(t *testing.T) {
	p := newParts(t, status(401), status(503), status(200))
	clock := newClock()
	r := p.readiness(clock.time)
	r.report(context.Background())
	clock.advance(failureTTL)
	r.report(context.Background())
	if n := len(p.jupyter.seen()); n != 2 {
		t.Fatalf("got %d requests after a second, want 2", n)
	}
}
