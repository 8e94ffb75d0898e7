// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jupyterserver/jupyter-server-operator/test/golden"
)

// sampleResult has two rounds, a missed budget, and a case without a budget for memory.
func sampleResult() *result {
	calls := func(all ...callCount) []callCount { return all }
	operator := func(seconds float64, applyCalls float64) *turn {
		at := func(name string, servers int, seconds float64, all []callCount) phase {
			return phase{Name: name, Servers: servers, Seconds: seconds, Calls: all, CPU: map[string]float64{"operator": 12, "kube-apiserver": 30},
				Loop: &loop{Turns: float64(servers), P50: 0.02, P99: 0.25, Queue: 1.2, Queue50: 0.00005, Queue99: 8, RSS: 140 << 20, PeakRSS: 160 << 20, Heap: 60 << 20}}
		}
		t := &turn{Watches: 11, Memory: []memory{{500, 100 << 20}, {1000, 140 << 20}}}
		t.Phases = []phase{
			at(applied, 1000, seconds, calls(
				callCount{Call: "APPLY services", Count: applyCalls, Writes: true, Mean: 0.002, P99: 0.0145},
				callCount{Call: "POST events", Count: 1000, Writes: true},
				callCount{Call: "WATCH pods", Count: 7},
			)),
			at(started, 1000, 9, nil),
			at(touched, 1000, 2, nil),
			at(updated, 1000, 20, calls(callCount{Call: "APPLY statefulsets (dry run)", Count: 1000, Mean: 0.003, P99: 0.004})),
			at(restarted, 1000, 4, nil),
			at(drifted, 100, 1, nil),
			at(deleted, 1000, 3, nil),
		}
		t.phase(restarted).ReadySeconds = 1.5
		return t
	}
	plain := &turn{Phases: []phase{
		{Name: applied, Servers: 1000, Seconds: 20, CPU: map[string]float64{"client": 5, "kube-apiserver": 25}, Calls: calls(callCount{Call: "APPLY services", Count: 1000, Writes: true})},
		{Name: updated, Servers: 1000, Seconds: 10, CPU: map[string]float64{"client": 21}},
	}}
	cpu := map[string]float64{"kube-apiserver": 1}
	few := &turn{Phases: []phase{{Name: applied, Servers: 10, Seconds: 1, CPU: cpu, Loop: &loop{}}, {Name: updated, Servers: 10, Seconds: 1, CPU: cpu, Loop: &loop{}}}}
	return &result{
		Machine:     machine{CPU: "A Processor", Cores: 2, Memory: 8 << 30, Go: "go1.26.0", Kubernetes: "v1.37.2", Commit: "0123456789ab", Date: "2026-11-24"},
		Concurrency: 8, Objects: 6,
		Cases: []*testCase{
			{Servers: 1000, Namespaces: 50, Operator: []*turn{operator(40, 10000), operator(50, 12000)}, Plain: []*turn{plain, plain}},
			{Servers: 10, Namespaces: 1, Operator: []*turn{few}, Plain: []*turn{few}},
		},
		Benchmarks: []benchmark{
			{Name: "Render/minimal", Values: map[string]float64{"ns/op": 1.1e6, "B/op": 400000, "allocs/op": 5600}, Runs: 5},
			{Name: "Evaluate/minimal", Values: map[string]float64{"ns/op": 5e5, "p99-µs": 2000, "B/op": 1024, "allocs/op": 1800}, Runs: 5},
		},
	}
}

func TestReport(t *testing.T) {
	golden.Check(t, "testdata/report.md", markdown(sampleResult()))
}

func TestArithmetic(t *testing.T) {
	c := sampleResult().Cases[0]
	apply := c.Operator[0].phase(applied)
	tests := []struct {
		reason    string
		got, want float64
	}{
		{"calls per server exclude events and watches", apply.callsPerServer(), 10},
		{"all calls include events", apply.allCallsPerServer(), 11},
		{"all writes count", apply.writes(), 11000},
		{"the ratio is that of the medians", c.ratio(applied), 45.0 / 20},
		{"the processor time of all programs counts", c.cpuRatio(applied), 42.0 / 30},
		{"a missing phase takes no time", medianOf(c.Plain, deleted, seconds), 0},
		{"the median of an even number is between two", median([]float64{4, 1, 3, 2}), 2.5},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", test.reason, test.got, test.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		reason string
		budget budget
		want   string
	}{
		{"a measurement equal to the budget is met", budget{limit: 10, measured: 10}, "met"},
		{"a large excess is a factor", budget{limit: 10, measured: 25}, "missed: 2.5 times as much"},
		{"a small excess is a percentage", budget{limit: 10, measured: 10.08}, "missed by 0.8 %"},
		{"a zero budget has no factor", budget{limit: 0, measured: 3}, "missed"},
	}
	for _, test := range tests {
		if got := test.budget.verdict(); got != test.want {
			t.Errorf("%s: %q, want %q", test.reason, got, test.want)
		}
	}
}

func TestReplaceSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := replaceSection(path, "first\n"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("# Title\n\n"+string(page)+"\n## Next\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceSection(path, "second\n"); err != nil {
		t.Fatal(err)
	}
	page, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(page); !strings.HasPrefix(text, "# Title\n") || !strings.HasSuffix(text, "\n## Next\n") || strings.Contains(text, "first") || !strings.Contains(text, "\nsecond\n") {
		t.Errorf("%s", text)
	}
	if err := os.WriteFile(path, []byte("# Title\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceSection(path, "third"); err == nil {
		t.Error("a page without marks was modified")
	}
}
