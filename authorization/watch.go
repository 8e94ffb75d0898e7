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
	watchEvery      = time.Minute
	watchEveryFault = 10 * time.Second
)

// watch asks the provider now and then whether it is there. Nobody's request waits for it, or depends on it: who is signed
// in goes on working while the provider is down.
type watch struct {
	provider func() provider // the configuration may change
	logger   *slog.Logger
	after    func(time.Duration) <-chan time.Time
	// signedIn is true once the plugin has sent somebody: the provider knows the client, whatever the report says.
	signedIn *atomic.Bool

	report finding // what `check` found before this program started
	last   atomic.Pointer[finding]
}

func newWatch(provider func() provider, signedIn *atomic.Bool, logger *slog.Logger) *watch {
	report, err := readReport(provider().Report)
	if err != nil {
		logger.Warn("the report about the provider cannot be read", "error", err)
	}
	if !report.OK {
		logger.Warn("the check before the start", "reason", report.Reason, "provider", report.Message)
	}
	w := &watch{provider: provider, logger: logger, after: time.After, signedIn: signedIn, report: report}
	first := report
	if report.Reason == clientRefused { // then the provider was there
		first = finding{OK: true}
	}
	w.last.Store(&first)
	return w
}

// state is what is known at the moment. Before the first look that is the report.
func (w *watch) state() finding {
	last := *w.last.Load()
	if last.OK && w.report.Reason == clientRefused && !w.signedIn.Load() {
		return w.report
	}
	return last
}

// run looks until the context ends.
func (w *watch) run(ctx context.Context) {
	for {
		w.look(ctx)
		every := watchEvery
		if !w.last.Load().OK {
			every = watchEveryFault
		}
		select {
		case <-ctx.Done():
			return
		case <-w.after(jitter(every)):
		}
	}
}

// jitter keeps many servers from asking at the same moment: up to a tenth more or less.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5)
}

func (w *watch) look(ctx context.Context) {
	found := look(ctx, w.provider())
	if ctx.Err() != nil {
		return // it is this program that ended, not the provider
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

func look(ctx context.Context, p provider) finding {
	client, err := newProviderClient(p.CAFile)
	if err != nil {
		return wrong(providerUnreachable, "the certificates for the provider %s cannot be read: %s", p.Issuer, clean(err.Error()))
	}
	_, found := discover(ctx, client, p.Issuer)
	return found
}
