// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	watchInterval        = time.Minute
	watchIntervalFailing = 10 * time.Second
)

// watch polls the provider. No request waits for it or depends on it: signed-in users are not affected while the provider is
// down.
type watch struct {
	provider func() provider // the configuration may change
	logger   *slog.Logger
	after    func(time.Duration) <-chan time.Time
	// signedIn is true after the first identity from the plugin: then the provider knows the client, whatever the report says.
	signedIn *atomic.Bool

	report finding // the finding of `check` before this program started
	last   atomic.Pointer[finding]
}

func newWatch(provider func() provider, signedIn *atomic.Bool, logger *slog.Logger) *watch {
	report, err := readReport(provider().Report)
	if err != nil {
		logger.Warn("reading the report about the provider failed", "error", err)
	}
	if !report.OK {
		logger.Warn("the check of the provider before the start failed", "reason", report.Reason, "provider", report.Message)
	}
	w := &watch{provider: provider, logger: logger, after: time.After, signedIn: signedIn, report: report}
	first := report
	if report.Reason == clientRefused { // then the provider was available
		first = finding{OK: true}
	}
	w.last.Store(&first)
	return w
}

// state returns the current finding: before the first poll that of the report.
func (w *watch) state() finding {
	last := *w.last.Load()
	if last.OK && w.report.Reason == clientRefused && !w.signedIn.Load() {
		return w.report
	}
	return last
}

// run polls until the context ends.
func (w *watch) run(ctx context.Context) {
	for {
		w.poll(ctx)
		every := watchInterval
		if !w.last.Load().OK {
			every = watchIntervalFailing
		}
		select {
		case <-ctx.Done():
			return
		case <-w.after(jitter(every)):
		}
	}
}

// jitter adds or subtracts up to a tenth, so that servers do not poll in step.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5) //nolint:gosec // it is no secret
}

func (w *watch) poll(ctx context.Context) {
	found := checkProvider(ctx, w.provider())
	if ctx.Err() != nil {
		return // this program ends, which is not a fault of the provider
	}
	before := w.last.Swap(&found)
	if before.Reason == found.Reason {
		return
	}
	if found.OK {
		w.logger.Info("the provider works again", "provider", found.Message)
		return
	}
	w.logger.Warn("the provider does not work", "reason", found.Reason, "provider", found.Message)
}

func checkProvider(ctx context.Context, p provider) finding {
	client, err := newProviderClient(p.CAFile)
	if err != nil {
		return failure(providerUnreachable, "cannot read the CA certificates for the provider %s: %s", p.Issuer, clean(err.Error()))
	}
	_, found := discover(ctx, client, p.Issuer)
	return found
}
