// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
)

// result is everything that was measured, as it is written to the JSON file. Times are in seconds, memory is in bytes.
type result struct {
	Machine     machine     `json:"machine"`
	Concurrency int         `json:"concurrency"`
	Objects     int         `json:"objects"` // of a server: those of its release, and its Secret
	Writes      plainWrites `json:"plainWrites"`
	Cases       []*testCase `json:"cases"`
	Benchmarks  []benchmark `json:"benchmarks,omitempty"`
}

// plainWrites is what the plain client writes for one server, beside the JupyterServer.
type plainWrites struct {
	Apply  []string `json:"apply"`
	Update []string `json:"update"`
}

// machine is where it was measured.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"`
	Commit     string `json:"commit"`
	Date       string `json:"date"`
}

// testCase is a number of servers, spread in one way.
type testCase struct {
	Servers    int     `json:"servers"`
	Namespaces int     `json:"namespaces"`
	Operator   []*turn `json:"operator"`
	Plain      []*turn `json:"plain"`
}

// turn is what one of the two did on one control plane.
type turn struct {
	Phases []phase `json:"phases"`
	// Watches is how many the operator has open.
	Watches float64 `json:"watches,omitempty"`
	// Memory is what the operator held while it made the first releases.
	Memory []memory `json:"memory,omitempty"`
}

// memory is VmRSS when so many servers were released.
type memory struct {
	Servers int   `json:"servers"`
	RSS     int64 `json:"rss"`
}

// Names of phases.
const (
	applied   = "apply"
	started   = "start"
	touched   = "touch"
	updated   = "update"
	restarted = "restart"
	drifted   = "drift"
	deleted   = "delete"
)

// phase is what happened to a number of servers.
type phase struct {
	Name    string  `json:"name"`
	Servers int     `json:"servers"`
	Seconds float64 `json:"seconds"`
	// ReadySeconds is the time until the operator said that it is ready, where it was started.
	ReadySeconds float64 `json:"readySeconds,omitempty"`
	// Calls are the requests that the API server answered, but for those of the driver.
	Calls []callCount `json:"calls"`
	// CPU is processor time by program.
	CPU  map[string]float64 `json:"cpu"`
	Loop *loop              `json:"loop,omitempty"`
}

// callCount is one kind of requests. Mean and P99 are the API server's times, of all that asked for it.
type callCount struct {
	Call   string  `json:"call"`
	Count  float64 `json:"count"`
	Writes bool    `json:"writes"`
	Mean   float64 `json:"mean"`
	P99    float64 `json:"p99"`
}

// loop is what the operator says about its loop, and the kernel about its memory at the end of the phase.
type loop struct {
	Turns   float64 `json:"turns"`
	Errors  float64 `json:"errors"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Queue   float64 `json:"queueMean"`
	Queue50 float64 `json:"queueP50"`
	Queue99 float64 `json:"queueP99"`
	RSS     int64   `json:"rss"`
	PeakRSS int64   `json:"peakRSS"`
	Heap    int64   `json:"heapInuse"`
}

func (p phase) perSecond() float64 { return float64(p.Servers) / p.Seconds }

// callsPerServer is without watches and events. Events are sent beside the loop, and only tell.
func (p phase) callsPerServer() float64 {
	return p.count(func(c callCount) bool { return !c.watch() && !c.event() }) / float64(p.Servers)
}

// allCallsPerServer is with events.
func (p phase) allCallsPerServer() float64 {
	return p.count(func(c callCount) bool { return !c.watch() }) / float64(p.Servers)
}

// writes are all requests that changed something.
func (p phase) writes() float64 { return p.count(func(c callCount) bool { return c.Writes }) }

func (p phase) count(wanted func(callCount) bool) float64 {
	var total float64
	for _, c := range p.Calls {
		if wanted(c) {
			total += c.Count
		}
	}
	return total
}

func (c callCount) watch() bool { return strings.HasPrefix(c.Call, "WATCH ") }

func (c callCount) event() bool { return c.Writes && strings.HasSuffix(c.Call, " events") }

// phase is the one of a name, or nil.
func (t *turn) phase(name string) *phase {
	for i := range t.Phases {
		if t.Phases[i].Name == name {
			return &t.Phases[i]
		}
	}
	return nil
}

// ratio is how many times as long as the plain client the operator takes for a phase.
func (c *testCase) ratio(name string) float64 {
	return middle(c.Operator, name, seconds) / middle(c.Plain, name, seconds)
}

// cpuRatio is the processor time of all programs in the operator's turns, in times of what it is in the plain client's. Other work on
// the machine makes less of a difference to it than to times.
func (c *testCase) cpuRatio(name string) float64 {
	return middle(c.Operator, name, phase.cpu) / middle(c.Plain, name, phase.cpu)
}

func (p phase) cpu() float64 {
	var total float64
	for _, used := range p.CPU {
		total += used
	}
	return total
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
