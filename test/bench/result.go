// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
)

// result holds all measurements, as written to the JSON file. Times are in seconds, memory in bytes.
type result struct {
	Machine     machine     `json:"machine"`
	Concurrency int         `json:"concurrency"`
	Objects     int         `json:"objects"` // of a server: those of its release and its Secret
	Writes      plainWrites `json:"plainWrites"`
	Cases       []*testCase `json:"cases"`
	Benchmarks  []benchmark `json:"benchmarks,omitempty"`
}

// plainWrites are the writes of the plain client for one server, in addition to the JupyterServer.
type plainWrites struct {
	Apply  []string `json:"apply"`
	Update []string `json:"update"`
}

// machine is the hardware and the versions of the run.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"`
	Commit     string `json:"commit"`
	Date       string `json:"date"`
}

// testCase is a number and distribution of servers.
type testCase struct {
	Servers    int     `json:"servers"`
	Namespaces int     `json:"namespaces"`
	Operator   []*turn `json:"operator"`
	Plain      []*turn `json:"plain"`
}

// turn is a run of the operator or the plain client on one control plane.
type turn struct {
	Phases []phase `json:"phases"`
	// Watches is the number of the operator's open watches.
	Watches float64 `json:"watches,omitempty"`
	// Memory is the operator's memory during the first releases.
	Memory []memory `json:"memory,omitempty"`
}

// memory is VmRSS by number of released servers.
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

// phase is one operation on a number of servers.
type phase struct {
	Name    string  `json:"name"`
	Servers int     `json:"servers"`
	Seconds float64 `json:"seconds"`
	// ReadySeconds is the time until a started operator was ready.
	ReadySeconds float64 `json:"readySeconds,omitempty"`
	// Calls are the requests that the API server answered, without those of the driver.
	Calls []callCount `json:"calls"`
	// CPU is processor time by program.
	CPU  map[string]float64 `json:"cpu"`
	Loop *loop              `json:"loop,omitempty"`
}

// callCount counts one kind of requests. Mean and P99 are the API server's response times for all clients.
type callCount struct {
	Call   string  `json:"call"`
	Count  float64 `json:"count"`
	Writes bool    `json:"writes"`
	Mean   float64 `json:"mean"`
	P99    float64 `json:"p99"`
}

// loop holds the operator's metrics of its loop, and its memory at the end of the phase according to the kernel.
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

// callsPerServer excludes watches and events, which are sent asynchronously.
func (p phase) callsPerServer() float64 {
	return p.count(func(c callCount) bool { return !c.watch() && !c.event() }) / float64(p.Servers)
}

// allCallsPerServer includes events.
func (p phase) allCallsPerServer() float64 {
	return p.count(func(c callCount) bool { return !c.watch() }) / float64(p.Servers)
}

// writes counts all requests that changed an object.
func (p phase) writes() float64 { return p.count(func(c callCount) bool { return c.Writes }) }

func (p phase) count(match func(callCount) bool) float64 {
	var total float64
	for _, c := range p.Calls {
		if match(c) {
			total += c.Count
		}
	}
	return total
}

func (c callCount) watch() bool { return strings.HasPrefix(c.Call, "WATCH ") }

func (c callCount) event() bool { return c.Writes && strings.HasSuffix(c.Call, " events") }

// phase returns the phase with a name, or nil.
func (t *turn) phase(name string) *phase {
	for i := range t.Phases {
		if t.Phases[i].Name == name {
			return &t.Phases[i]
		}
	}
	return nil
}

// ratio is the operator's time for a phase relative to that of the plain client.
func (c *testCase) ratio(name string) float64 {
	return medianOf(c.Operator, name, seconds) / medianOf(c.Plain, name, seconds)
}

// cpuRatio is the processor time of all programs in the operator's turns relative to those of the plain client. It depends less on
// other load on the machine than times do.
func (c *testCase) cpuRatio(name string) float64 {
	return medianOf(c.Operator, name, phase.cpu) / medianOf(c.Plain, name, phase.cpu)
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
