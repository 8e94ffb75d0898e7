// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of the histogram's buckets.
var bounds = []time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond,
	500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
}

// metrics writes Prometheus' text format without its client library, which would take a seventh of the memory limit of the
// service. All series exist from the start.
type metrics struct {
	decisions map[reason]*atomic.Uint64 // the map itself is immutable
	buckets   []atomic.Uint64           // one per bound and one for slower decisions; not cumulative
	nanos     atomic.Int64

	rulesValid atomic.Bool
	reloads    struct{ ok, failed atomic.Uint64 }
}

func newMetrics() *metrics {
	m := &metrics{decisions: map[reason]*atomic.Uint64{}, buckets: make([]atomic.Uint64, len(bounds)+1)}
	for _, reasons := range [][]reason{allowing, denying} {
		for _, r := range reasons {
			m.decisions[r] = new(atomic.Uint64)
		}
	}
	return m
}

func (m *metrics) decided(r reason, took time.Duration) {
	m.decisions[r].Add(1)
	m.nanos.Add(int64(took))
	bucket := 0
	for bucket < len(bounds) && took > bounds[bucket] {
		bucket++
	}
	m.buckets[bucket].Add(1)
}

// prefix is the prefix of all metric names.
const prefix = "jupyterserver_authorization_"

// metricsType is the Content-Type of the exposition.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// write writes all metrics. problem is the reason why the provider does not work, or empty.
func (m *metrics) write(w io.Writer, problem string) {
	describe(w, "decisions_total", "counter", "Decisions on requests, by result and reason.")
	for _, r := range allowing {
		fmt.Fprintf(w, prefix+"decisions_total{result=\"allowed\",reason=%q} %d\n", string(r), m.decisions[r].Load())
	}
	for _, r := range denying {
		fmt.Fprintf(w, prefix+"decisions_total{result=\"denied\",reason=%q} %d\n", string(r), m.decisions[r].Load())
	}
	m.writeDurations(w)
	describe(w, "rules_valid", "gauge", "Whether the configuration file is valid (1) or all requests are denied (0).")
	fmt.Fprintf(w, prefix+"rules_valid %d\n", number(m.rulesValid.Load()))
	describe(w, "reloads_total", "counter", "Reloads of the configuration file, by result.")
	fmt.Fprintf(w, prefix+"reloads_total{result=\"ok\"} %d\n", m.reloads.ok.Load())
	fmt.Fprintf(w, prefix+"reloads_total{result=\"failed\"} %d\n", m.reloads.failed.Load())
	writeProvider(w, problem)
	describe(w, "build_info", "gauge", "The version of this program.")
	fmt.Fprintf(w, prefix+"build_info{version=%q,goversion=%q} 1\n", version, runtime.Version())
}

func (m *metrics) writeDurations(w io.Writer) {
	const name = "decision_duration_seconds"
	describe(w, name, "histogram", "Duration of decisions in seconds.")
	var count uint64
	for i, bound := range bounds {
		count += m.buckets[i].Load()
		fmt.Fprintf(w, prefix+name+"_bucket{le=%q} %d\n", seconds(bound), count)
	}
	count += m.buckets[len(bounds)].Load()
	fmt.Fprintf(w, prefix+name+"_bucket{le=\"+Inf\"} %d\n", count)
	fmt.Fprintf(w, prefix+name+"_sum %s\n", seconds(time.Duration(m.nanos.Load())))
	fmt.Fprintf(w, prefix+name+"_count %d\n", count)
}

func writeProvider(w io.Writer, problem string) {
	describe(w, "provider_ok", "gauge", "Whether the OpenID provider and its client work (1) or not (0).")
	fmt.Fprintf(w, prefix+"provider_ok %d\n", number(problem == ""))
	describe(w, "provider_problem", "gauge", "The current problem with the OpenID provider or its client, by reason.")
	for _, r := range []string{providerUnreachable, providerInvalid, clientRefused} {
		fmt.Fprintf(w, prefix+"provider_problem{reason=%q} %d\n", r, number(problem == r))
	}
}

func describe(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, kind)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
