// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// heartbeat is the interval of progress lines of a long step.
const heartbeat = 30 * time.Second

// report prints the progress of a build and, at the end, the time of each step.
type report struct {
	out   io.Writer
	taken []taken
}

type taken struct {
	name    string
	seconds time.Duration
}

// step runs a step and prints a line at its start and its end.
func (r *report) step(name string, run func() error) error {
	start := time.Now()
	fmt.Fprintf(r.out, "%s: building\n", name)
	stop := r.beat(name, start)
	err := run()
	stop()
	elapsed := time.Since(start).Round(time.Second)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(r.out, "%s: done in %.0f s\n", name, elapsed.Seconds())
	r.taken = append(r.taken, taken{name, elapsed})
	return nil
}

// beat prints a line every heartbeat until it is stopped.
func (r *report) beat(name string, start time.Time) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				fmt.Fprintf(r.out, "%s: still building, %.0f s\n", name, time.Since(start).Seconds())
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// table prints the built artefacts with their times, if any.
func (r *report) table() {
	if len(r.taken) == 0 {
		return
	}
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var total time.Duration
	for _, t := range r.taken {
		fmt.Fprintf(table, "%s\t%.0f s\t\n", t.name, t.seconds.Seconds())
		total += t.seconds
	}
	fmt.Fprintf(table, "total\t%.0f s\t\n", total.Seconds())
	table.Flush()
}
