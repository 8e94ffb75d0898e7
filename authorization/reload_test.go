// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// entry returns the reason of the decision on the user u-1.
func (f *ruleFile) entry() reason { return f.current.Load().decide(headers(userHeader, "u-1")).reason }

func TestReload(t *testing.T) {
	good, other := text(t, testConfig(onlyUsers("u-1"))), text(t, testConfig(onlyUsers("u-2")))
	m := newConfigMapVolume(t, good)
	var log journal
	metrics := newMetrics()
	f, err := openRules(m.file(), log.logger(), metrics)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(string) {
		if err := os.Remove(filepath.Join(m.folder, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		reason       string
		do           func(string)
		content      string
		want         reason
		valid        bool
		ok, failed   uint64
		errorsLogged int
	}{
		{"Nothing changed.", func(string) {}, "", allowedUser, true, 0, 0, 0},
		{"The same content in a new folder is no change.", m.swap, good, allowedUser, true, 0, 0, 0},
		{"The rules change.", m.swap, other, notAllowed, true, 1, 0, 0},
		{"The rules change back.", m.swap, good, allowedUser, true, 2, 0, 0},
		{"The rules are invalid.", m.swap, good + "x", rulesInvalid, false, 2, 1, 1},
		{"The rules are invalid for the same reason.", m.swap, good + "xx", rulesInvalid, false, 2, 1, 1},
		{"The rules are invalid for another reason.", m.swap, "", rulesInvalid, false, 2, 2, 2},
		{"The rules are valid again.", m.swap, good, allowedUser, true, 3, 2, 2},
		{"The file is missing.", remove, "", rulesInvalid, false, 3, 3, 3},
		{"The file is back with the same content.", m.swap, good, allowedUser, true, 4, 3, 3},
	} {
		step.do(step.content)
		for range 3 { // polling again changes nothing
			f.poll()
		}
		if got := f.entry(); got != step.want {
			t.Errorf("%s\ngot %s, want %s", step.reason, got, step.want)
		}
		if f.current.Load().config.Server != "alice" {
			t.Errorf("%s\nthe pages have no name", step.reason)
		}
		if metrics.rulesValid.Load() != step.valid || metrics.reloads.ok.Load() != step.ok || metrics.reloads.failed.Load() != step.failed {
			t.Errorf("%s\nmetrics: valid %t, %d ok, %d failed", step.reason,
				metrics.rulesValid.Load(), metrics.reloads.ok.Load(), metrics.reloads.failed.Load())
		}
		if n := len(log.lines("all requests are denied until the rules are valid again")); n != step.errorsLogged {
			t.Errorf("%s\n%d errors logged:\n%s", step.reason, n, log.String())
		}
	}
}

func TestReloadFollowsTicks(t *testing.T) {
	expectNoGoroutinesLeft(t)
	m := newConfigMapVolume(t, text(t, testConfig(onlyUsers("u-1"))))
	var log journal
	f, err := openRules(m.file(), log.logger(), newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ticks, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		f.run(ctx, ticks)
	}()
	m.swap(text(t, testConfig(onlyUsers("u-2"))))
	ticks <- time.Time{}
	ticks <- time.Time{} // the first tick has been handled
	if got := f.entry(); got != notAllowed {
		t.Errorf("%s", got)
	}
	stop()
	<-done
}

func TestOpenRulesFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorization.json")
	var log journal
	if _, err := openRules(path, log.logger(), newMetrics()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	writeFile(t, path, text(t, testConfig(func(c *config) { c.Home = "" })))
	if _, err := openRules(path, log.logger(), newMetrics()); err == nil || !strings.HasPrefix(err.Error(), path+": home: ") {
		t.Errorf("an invalid field: %v", err)
	}
}
