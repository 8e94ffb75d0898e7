// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestServe covers a run of the service: rules that change, become invalid and valid again, and a graceful shutdown.
func TestServe(t *testing.T) {
	expectNoGoroutinesLeft(t)
	slow := make(chan struct{})
	s := newFakeProvider(t)
	p := newParts(t, status(401), status(200), func(_ http.ResponseWriter, r *http.Request) { <-slow })
	setup := func(c *config) { c.Chain, c.Provider = p.chain(), s.settings(t) }
	good, none := text(t, testConfig(setup)), text(t, testConfig(setup, onlyUsers("u-2")))
	m := newConfigMapVolume(t, good)
	var log journal
	service, err := newService(m.file(), log.logger())
	if err != nil {
		t.Fatal(err)
	}
	service.pollInterval = 10 * time.Millisecond
	decisions, ops := listen(t), listen(t)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.run(ctx, decisions, ops) }()
	decide := func() int { return ask(t, "http://"+decisions.Addr().String()+"/", headers(userHeader, "u-1")).code }
	operator := func(path string) reply { return ask(t, "http://"+ops.Addr().String()+path, nil) }

	if code := decide(); code != 200 {
		t.Fatalf("u-1 is not allowed: HTTP status %d", code)
	}
	m.swap(none)
	eventually(t, "u-1 is no longer allowed", func() bool { return decide() == 403 })
	m.swap("{")
	eventually(t, "the rules are invalid", func() bool {
		return strings.Contains(operator("/metrics").body, prefix+"rules_valid 0")
	})
	if code := decide(); code != 403 {
		t.Errorf("while the rules are invalid: HTTP status %d", code)
	}
	m.swap(good)
	eventually(t, "u-1 is allowed again", func() bool { return decide() == 200 })
	if got := operator("/healthz"); got.code != 200 {
		t.Errorf("/healthz: %+v", got)
	}
	if got := operator("/"); got.code != 404 {
		t.Errorf("/: %+v", got)
	}
	eventually(t, "the provider has been polled", func() bool { return service.watch.state().Message != "" })
	metrics := operator("/metrics")
	checkExposition(t, metrics.body)
	if metrics.header.Get("Content-Type") != metricsType {
		t.Errorf("/metrics: %v", metrics.header)
	}

	// A request that is in progress when the service stops is completed.
	ready := make(chan reply, 1)
	go func() {
		got, _ := get(t.Context(), "http://"+ops.Addr().String()+"/readyz", nil)
		ready <- got
	}()
	eventually(t, "Jupyter gets a request", func() bool { return len(p.jupyter.seen()) > 0 })
	stop()
	eventually(t, "new connections are rejected", func() bool {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", decisions.Addr().String())
		if err == nil {
			connection.Close()
		}
		return err != nil
	})
	close(slow)
	var report map[string]any
	if got := <-ready; got.code != 200 || json.Unmarshal([]byte(got.body), &report) != nil || report["ready"] != true {
		t.Errorf("/readyz: %+v", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("run returned %v", err)
	}
	if strings.Contains(log.String(), "panic") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestServeReportsNotReady(t *testing.T) {
	p := newParts(t, status(200), status(200), status(200))
	path := writeFile(t, filepath.Join(t.TempDir(), "c.json"), text(t, testConfig(func(c *config) { c.Chain = p.chain() })))
	s, err := newService(path, (&journal{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	server := newRecordingServer(t, s.ops.ServeHTTP)
	got := ask(t, server.URL+"/readyz", nil)
	var report readyReport
	if err := json.Unmarshal([]byte(got.body), &report); err != nil {
		t.Fatal(err)
	}
	if got.code != 503 || got.header.Get("Content-Type") != "application/json" || report.Ready || report.Checks["proxy"].OK || !report.Checks["jupyter"].OK {
		t.Errorf("%+v", got)
	}
}

func TestServeListenerTaken(t *testing.T) {
	expectNoGoroutinesLeft(t)
	l := listen(t)
	defer l.Close()
	config := writeFile(t, filepath.Join(t.TempDir(), "c.json"), text(t, testConfig()))
	for _, flags := range [][]string{
		{"--listen", l.Addr().String()},
		{"--listen", "127.0.0.1:0", "--ops-listen", l.Addr().String()},
	} {
		var stderr bytes.Buffer
		if code := run(context.Background(), append([]string{"serve", "--config", config}, flags...), &stderr, &stderr); code != exitFailed {
			t.Errorf("%v: exit code %d", flags, code)
		}
		if !strings.Contains(stderr.String(), "address already in use") {
			t.Errorf("%v: %s", flags, stderr.String())
		}
	}
}

// TestProgram starts the program as a process and stops it like the kubelet.
func TestProgram(t *testing.T) {
	config := writeFile(t, filepath.Join(t.TempDir(), "c.json"), text(t, testConfig()))
	program := exec.CommandContext(t.Context(), os.Args[0], "serve", "--config", config, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
	program.Env = append(os.Environ(), "RUN_AUTHORIZATION=1")
	var log journal
	program.Stderr = &log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	eventually(t, "the program serves", func() bool { return len(log.lines("serving")) == 1 })
	address := "http://" + log.lines("serving")[0]["decisions"].(string)
	if got := ask(t, address, headers(userHeader, "u-1")); got.code != 200 {
		t.Errorf("%+v", got)
	}
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("the program ended with %v:\n%s", err, log.String())
	}
}

func TestRun(t *testing.T) {
	invalid := writeFile(t, filepath.Join(t.TempDir(), "c.json"), text(t, testConfig(func(c *config) { c.Headers.User = "" })))
	for name, test := range map[string]struct {
		reason         string
		args           []string
		code           int
		stdout, stderr string // prefixes
	}{
		"nothing":       {"Without a command the usage is printed.", nil, exitUsage, "", "authorization decides"},
		"help":          {"Requested help is not an error.", []string{"--help"}, exitOK, "authorization decides", ""},
		"help of serve": {"Requested help of a command is not an error.", []string{"serve", "--help"}, exitOK, "", "Usage of authorization serve"},
		"version":       {"The version is printed.", []string{"version"}, exitOK, version + "\n", ""},
		"no command":    {"Unknown commands are rejected.", []string{"server"}, exitUsage, "", `error: unknown command "server"`},
		"no flag":       {"Unknown flags are rejected.", []string{"check", "--conf", "x"}, exitUsage, "", "flag provided but not defined: -conf"},
		"no file":       {"The file is required.", []string{"check"}, exitUsage, "", "error: --config is required"},
		"argument":      {"Arguments are rejected.", []string{"serve", "--config", "x", "y"}, exitUsage, "", `error: unexpected argument "y"`},
		"missing file":  {"The error is one line.", []string{"serve", "--config", "/nonexistent/c.json"}, exitFailed, "", "error: open /nonexistent/c.json: no such file or directory\n"},
		"invalid file":  {"The error names the field.", []string{"serve", "--config", invalid}, exitFailed, "", "error: " + invalid + ": headers.user: must not be empty\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), test.args, &stdout, &stderr)
			if code != test.code || !strings.HasPrefix(stdout.String(), test.stdout) || !strings.HasPrefix(stderr.String(), test.stderr) {
				t.Errorf("%s\nexit code %d\nstdout: %s\nstderr: %s", test.reason, code, stdout.String(), stderr.String())
			}
			if test.stdout == "" && stdout.Len() > 0 {
				t.Errorf("%s\nstdout: %s", test.reason, stdout.String())
			}
		})
	}
}
