// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Progress: prints the steps and their duration.

package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// heartbeat is the interval of progress lines of a running step.
const heartbeat = 30 * time.Second

// progress prints steps with the elapsed time.
type progress struct {
	out   io.Writer
	began time.Time

	mu sync.Mutex // steps print concurrently
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, began: time.Now()}
}

func (p *progress) sayf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "[%6.1fs] %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

// step runs a long step and prints a line at its start, every 30 seconds, and at its
// end.
func (p *progress) step(ctx context.Context, name string, run func(context.Context) error) error {
	began := time.Now()
	p.sayf("%s ...", name)
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p.sayf("%s: still running after %.0f s", name, time.Since(began).Seconds())
			}
		}
	})
	err := run(ctx)
	close(done)
	beating.Wait()
	took := time.Since(began)
	if err != nil {
		p.sayf("%s: failed after %.1f s", name, took.Seconds())
		return err
	}
	p.sayf("%s: done in %.1f s", name, took.Seconds())
	return nil
}
