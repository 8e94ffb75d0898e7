// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain runs the program if a test starts this binary with RUN_AUTHORIZATION.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AUTHORIZATION") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// session is the name of the plugin's session cookie.
const session = "__Secure-js-0123456789abcdef"

// testConfig returns the configuration of the server alice with changes.
func testConfig(changes ...func(*config)) *config {
	c := &config{
		Server:  "alice",
		Home:    "/alice/",
		SignOut: "/alice/oauth2/sign_out?rd=%2Falice%2Foauth2%2Fsigned-out",
		Headers: headerNames{
			User: "X-Auth-Request-User", Email: "X-Auth-Request-Email",
			Groups: "X-Auth-Request-Groups", PreferredUsername: "X-Auth-Request-Preferred-Username",
		},
		Allow: allow{Users: []string{"u-1"}, Emails: []string{"Bob@Example.org"}, Groups: []string{"staff", "c,d"}},
		Chain: chain{
			Proxy:          target{URL: "http://127.0.0.1:1/alice/api/status", Host: "jupyter.example.org"},
			Authentication: target{URL: "http://127.0.0.1:1/ping"},
			Jupyter:        target{URL: "http://127.0.0.1:1/alice/api", Host: "localhost"},
		},
		Provider: provider{
			Issuer: "http://127.0.0.1:1", ClientID: "jupyter",
			RedirectURL: "https://jupyter.example.org/alice/oauth2/callback",
			Scopes:      []string{"openid", "email"}, Report: "/nonexistent/provider.json",
		},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func onlyUsers(users ...string) func(*config) {
	return func(c *config) { c.Allow = allow{Users: users} }
}

func text(t testing.TB, c *config) string {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func writeFile(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configMapVolume is a folder like the kubelet's mount of a ConfigMap: the file links to ..data/, and ..data to a folder.
type configMapVolume struct {
	t      testing.TB
	folder string
}

func newConfigMapVolume(t testing.TB, content string) *configMapVolume {
	t.Helper()
	m := &configMapVolume{t: t, folder: t.TempDir()}
	m.swap(content)
	if err := os.Symlink("..data/authorization.json", m.file()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *configMapVolume) file() string { return filepath.Join(m.folder, "authorization.json") }

// swap changes the content like the kubelet: a new folder, a new link and a rename.
func (m *configMapVolume) swap(content string) {
	m.t.Helper()
	before, _ := os.Readlink(filepath.Join(m.folder, "..data"))
	folder, err := os.MkdirTemp(m.folder, "..2026_")
	if err != nil {
		m.t.Fatal(err)
	}
	writeFile(m.t, filepath.Join(folder, "authorization.json"), content)
	link := filepath.Join(m.folder, "..data_tmp")
	if err := os.Symlink(filepath.Base(folder), link); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(m.folder, "..data")); err != nil {
		m.t.Fatal(err)
	}
	if before != "" {
		os.RemoveAll(filepath.Join(m.folder, before))
	}
}

// journal is a log that a test reads.
type journal struct {
	mu  sync.Mutex
	raw bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.raw.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.raw.String()
}

// lines returns the entries with a message.
func (j *journal) lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(j.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// standardLogger returns a logger for unstructured messages.
func (j *journal) standardLogger() *log.Logger { return log.New(j, "", 0) }

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// clock is a clock that a test advances.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// recordingServer is a server that records its requests.
type recordingServer struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
}

func newRecordingServer(t testing.TB, handler http.HandlerFunc) *recordingServer {
	t.Helper()
	a := &recordingServer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.requests = append(a.requests, r)
		a.mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *recordingServer) seen() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if code >= 300 && code < 400 {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		}
		w.WriteHeader(code)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("timed out waiting until %s", what)
}

// expectNoGoroutinesLeft fails the test if it leaks goroutines. It must be called first.
func expectNoGoroutinesLeft(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Errorf("%d goroutines before, %d now:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}
