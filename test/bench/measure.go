// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"
)

// measurement holds the programs that are measured in a turn.
type measurement struct {
	plane    *controlPlane
	driver   *driver
	operator *operator // nil in the turn of the plain client, which is this process
}

// snapshot holds the values of all programs at one time.
type snapshot struct {
	at       time.Time
	plane    scrape
	operator scrape
	driver   map[call]float64
	cpu      map[string]float64
}

// snapshot reads the values of all programs. Its time is that of reading the processor times, which is cheap.
func (m *measurement) snapshot(ctx context.Context) (snapshot, error) {
	out := snapshot{at: time.Now(), cpu: map[string]float64{}}
	processes := map[string]process{"kube-apiserver": m.plane.apiserver, "etcd": m.plane.etcd, "client": process(os.Getpid())}
	if m.operator != nil {
		processes["operator"] = m.operator.process
	}
	for program, p := range processes {
		used, err := p.cpu()
		if err != nil {
			return out, err
		}
		out.cpu[program] = used
	}
	out.driver = m.driver.requests.snapshot()
	var err error
	if m.operator != nil {
		if out.operator, err = m.operator.scrape(ctx); err != nil {
			return out, err
		}
	}
	out.plane, err = m.plane.scrape(ctx)
	return out, err
}

// between returns the phase between two snapshots. It ended before the second one.
func (m *measurement) between(name string, servers int, before, after snapshot, end time.Time) (phase, error) {
	p := phase{Name: name, Servers: servers, Seconds: end.Sub(before.at).Seconds(), Calls: callsBetween(before, after), CPU: map[string]float64{}}
	for program, used := range after.cpu {
		p.CPU[program] = used - before.cpu[program]
	}
	if m.operator == nil {
		return p, nil
	}
	now, peak, err := m.operator.memory()
	p.Loop = loopBetween(before.operator, after.operator)
	p.Loop.RSS, p.Loop.PeakRSS = now, peak
	return p, err
}

func callsBetween(before, after snapshot) []callCount {
	made := without(after.plane.calls(), before.plane.calls(), without(after.driver, before.driver))
	out := []callCount{}
	for c, count := range made {
		took := after.plane.durations(c).since(before.plane.durations(c))
		out = append(out, callCount{Call: c.String(), Count: count, Writes: c.writes(), Mean: took.mean(), P99: took.quantile(0.99)})
	}
	slices.SortFunc(out, func(a, b callCount) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		if a.Call < b.Call {
			return -1
		}
		return 1
	})
	return out
}

func loopBetween(before, after scrape) *loop {
	controller := map[string]string{"controller": "jupyterserver"}
	queue := map[string]string{"name": "jupyterserver"}
	since := func(name string, labels map[string]string) histogram {
		return after.histogram(name, labels).since(before.histogram(name, labels))
	}
	took, waited := since("controller_runtime_reconcile_time_seconds", controller), since("workqueue_queue_duration_seconds", queue)
	failed := maps.Clone(controller)
	failed["result"] = "error"
	return &loop{
		Turns:  after.reconciles() - before.reconciles(),
		Errors: after.sum("controller_runtime_reconcile_total", failed) - before.sum("controller_runtime_reconcile_total", failed),
		P50:    took.quantile(0.5), P99: took.quantile(0.99),
		Queue: waited.mean(), Queue50: waited.quantile(0.5), Queue99: waited.quantile(0.99),
		Heap: int64(after.sum("go_memstats_heap_inuse_bytes", nil)),
	}
}

// watches returns the number of open watches on measured resources.
func (s scrape) watches() float64 {
	var total float64
	for _, metric := range s["apiserver_longrunning_requests"].GetMetric() {
		if c, ok := callOf(metric); ok && c.verb == "WATCH" {
			total += metric.GetGauge().GetValue()
		}
	}
	return total
}
