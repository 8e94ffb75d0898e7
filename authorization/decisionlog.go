// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// quiet is how long one user's allowed requests are not logged again: a page makes dozens of them.
	quiet = time.Minute
	// maxSeen bounds how many users are remembered.
	maxSeen = 1024
	// maxLogged is how much of a path is logged.
	maxLogged = 256
)

// decisionLog writes who was let in or not, where to, and why. It never sees headers, cookies and queries.
type decisionLog struct {
	logger *slog.Logger

	mu   sync.Mutex
	seen map[string]time.Time
}

func newDecisionLog(logger *slog.Logger) *decisionLog {
	return &decisionLog{logger: logger, seen: map[string]time.Time{}}
}

func (l *decisionLog) record(d decision, method, path string, now time.Time) {
	level, verdict := slog.LevelWarn, "denied"
	if d.allowed {
		if !l.due(d.who.user, now) {
			return
		}
		level, verdict = slog.LevelInfo, "allowed"
	}
	l.logger.LogAttrs(context.Background(), level, "decision",
		slog.String("decision", verdict),
		slog.String("reason", string(d.reason)),
		slog.String("user", d.who.user),
		slog.String("method", cut(method)),
		slog.String("path", cut(path)),
	)
}

// due says that a user has not been logged for a while, and remembers it.
func (l *decisionLog) due(user string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, found := l.seen[user]; found && now.Sub(last) < quiet {
		return false
	}
	if len(l.seen) >= maxSeen {
		l.forget(now)
	}
	l.seen[user] = now
	return true
}

// forget makes room: whoever is due anyway goes, or else everybody.
func (l *decisionLog) forget(now time.Time) {
	for user, last := range l.seen {
		if now.Sub(last) >= quiet {
			delete(l.seen, user)
		}
	}
	if len(l.seen) >= maxSeen {
		clear(l.seen)
	}
}

func cut(text string) string {
	if len(text) > maxLogged {
		text = text[:maxLogged] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
