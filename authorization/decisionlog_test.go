// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDecisionLog(t *testing.T) {
	var log journal
	l := newDecisionLog(log.logger())
	clock := newClock()
	in := func(user string) {
		l.record(t.Context(), decision{true, allowedUser, identity{user: user}}, "GET", "/alice/lab", clock.time())
	}
	count := func() int { return len(log.lines("decision")) }

	in("a")
	in("a")
	if count() != 1 {
		t.Fatalf("the same user was logged twice within the interval:\n%s", log.String())
	}
	in("b")
	if count() != 2 {
		t.Fatalf("another user was not logged:\n%s", log.String())
	}
	clock.advance(logInterval)
	in("a")
	if count() != 3 {
		t.Fatalf("the same user was not logged after the interval:\n%s", log.String())
	}
	for range 3 {
		l.record(t.Context(), decision{false, notAllowed, identity{user: "c"}}, "GET", "/", clock.time())
	}
	if count() != 6 {
		t.Fatalf("not every denial was logged:\n%s", log.String())
	}
	last := log.lines("decision")[5]
	for key, want := range map[string]string{"decision": "denied", "reason": "NotAllowed", "user": "c", "method": "GET", "path": "/", "level": "WARN"} {
		if last[key] != want {
			t.Errorf("%s: got %v, want %s", key, last[key], want)
		}
	}
}

func TestDecisionLogIsBounded(t *testing.T) {
	var log journal
	l := newDecisionLog(log.logger())
	clock := newClock()
	for i := range 5 * maxLoggedUsers {
		clock.advance(time.Millisecond)
		l.record(t.Context(), decision{true, anyAuthenticated, identity{user: strconv.Itoa(i)}}, strings.Repeat("M", 5000), strings.Repeat("ü", 5000), clock.time())
		if len(l.seen) > maxLoggedUsers {
			t.Fatalf("%d users are remembered", len(l.seen))
		}
	}
	entry := log.lines("decision")[0]
	if length := len(entry["path"].(string)) + len(entry["method"].(string)); length > 2*maxLogged+10 {
		t.Fatalf("a line contains %d bytes from the client", length)
	}
}
