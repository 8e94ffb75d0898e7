// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// ruleFile holds the rules of the configuration file and reloads them when it changes.
//
// Kubernetes swaps a symbolic link above a mounted file, which file watchers easily miss. The file is small, so it is polled
// instead.
type ruleFile struct {
	path    string
	logger  *slog.Logger
	metrics *metrics
	current atomic.Pointer[rules]

	// Only the polling goroutine uses these.
	seen    []byte // the last content; nil if the file could not be read
	problem string // the last logged error
}

// openRules reads the file for the first time. It must be valid.
func openRules(path string, logger *slog.Logger, m *metrics) (*ruleFile, error) {
	c, raw, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	f := &ruleFile{path: path, logger: logger, metrics: m, seen: raw}
	f.current.Store(newRules(c))
	m.rulesValid.Store(true)
	return f, nil
}

// run polls the file until the context ends.
func (f *ruleFile) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			f.poll()
		}
	}
}

// poll reads the file once. All requests are denied while it is invalid.
func (f *ruleFile) poll() {
	raw, err := readFile(f.path, maxConfig)
	if err != nil { // perhaps a swap is in progress, which takes no time
		raw, err = readFile(f.path, maxConfig)
	}
	if err != nil {
		f.seen = nil
		f.fail(err)
		return
	}
	if f.seen != nil && bytes.Equal(raw, f.seen) {
		return
	}
	f.seen = raw
	c, err := parseConfig(f.path, raw)
	if err != nil {
		f.fail(err)
		return
	}
	f.current.Store(newRules(c))
	f.problem = ""
	f.metrics.rulesValid.Store(true)
	f.metrics.reloads.ok.Add(1)
	f.logger.Info("the rules changed", "file", f.path)
}

func (f *ruleFile) fail(err error) {
	if err.Error() == f.problem {
		return
	}
	f.problem = err.Error()
	f.current.Store(f.current.Load().broken(err))
	f.metrics.rulesValid.Store(false)
	f.metrics.reloads.failed.Add(1)
	f.logger.Error("all requests are denied until the rules are valid again", "error", err)
}
