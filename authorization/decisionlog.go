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
	// logInterval is the minimum time between two logged allowed requests of a user: a page makes dozens of them.
	logInterval = time.Minute
	// maxLoggedUsers bounds the memory for logInterval.
	maxLoggedUsers = 1024
	// maxLogged limits, in bytes, how much of a path is logged.
	maxLogged = 256
)

// decisionLog logs decisions with user, path and reason. It never gets headers, cookies or queries.
type decisionLog struct {
	logger *slog.Logger

	mu   sync.Mutex
	seen map[string]time.Time
}

func newDecisionLog(logger *slog.Logger) *decisionLog {
	return &decisionLog{logger: logger, seen: map[string]time.Time{}}
}

func (l *decisionLog) record(ctx context.Context, d decision, method, path string, now time.Time) {
	level, verdict := slog.LevelWarn, "denied"
	if d.allowed {
		if !l.shouldLog(d.id.user, now) {
			return
		}
		level, verdict = slog.LevelInfo, "allowed"
	}
	l.logger.LogAttrs(ctx, level, "decision",
		slog.String("decision", verdict),
		slog.String("reason", string(d.reason)),
		slog.String("user", d.id.user),
		slog.String("method", cut(method)),
		slog.String("path", cut(path)),
	)
}

// shouldLog reports whether the user was not logged within logInterval, and records the time.
func (l *decisionLog) shouldLog(user string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, found := l.seen[user]; found && now.Sub(last) < logInterval {
		return false
	}
	if len(l.seen) >= maxLoggedUsers {
		l.forget(now)
	}
	l.seen[user] = now
	return true
}

// forget removes users that are due again, or all users if there are none.
func (l *decisionLog) forget(now time.Time) {
	for user, last := range l.seen {
		if now.Sub(last) >= logInterval {
			delete(l.seen, user)
		}
	}
	if len(l.seen) >= maxLoggedUsers {
		clear(l.seen)
	}
}

func cut(text string) string {
	if len(text) > maxLogged {
		text = text[:maxLogged] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
