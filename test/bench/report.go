// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The report is between these lines; the rest of the file is kept.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

const mebibyte = 1 << 20

// String summarizes the phase for the progress of a run.
func (p phase) String() string {
	text := fmt.Sprintf("%-8s %5d servers in %6.1f s: %6.1f/s, %.1f calls each", p.Name, p.Servers, p.Seconds, p.perSecond(), p.callsPerServer())
	if p.Loop != nil {
		text += fmt.Sprintf(", %.1f turns each, RSS %d MiB, CPU %.1f s", p.Loop.Turns/float64(p.Servers), p.Loop.RSS>>20, p.CPU["operator"])
	}
	return text
}

// markdown returns the report of the measurements.
func markdown(r *result) string {
	var out strings.Builder
	m := r.Machine
	fmt.Fprintf(&out, "Commit %s, %s: %s, %d cores, %d GiB; %s; Kubernetes %s. %d servers worked on at once.\n\n",
		m.Commit, m.Date, m.CPU, m.Cores, m.Memory>>30, m.Go, m.Kubernetes, r.Concurrency)
	writeBudgets(&out, budgets(r))
	writeThroughput(&out, r.Cases)
	writeMemory(&out, r.Cases)
	for _, c := range r.Cases {
		writeCase(&out, c)
	}
	writeBenchmarks(&out, r.Benchmarks)
	return out.String()
}

// replaceSection replaces the report between the marks of a file, or creates the file.
func replaceSection(path, report string) error {
	section := beginMark + "\n\n" + strings.TrimSpace(report) + "\n\n" + endMark
	old, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(path, []byte(section+"\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("reading the report: %w", err)
	}
	before, rest, begins := bytes.Cut(old, []byte(beginMark))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %s and %s", path, beginMark, endMark)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(section), after), 0o644)
}

// budget is a row of the table of budgets.
type budget struct {
	what     string
	limit    float64
	measured float64
	unit     string
}

func (b budget) verdict() string {
	switch {
	case b.measured <= b.limit:
		return "met"
	case b.limit == 0:
		return "missed"
	}
	if excess := (b.measured/b.limit - 1) * 100; excess < 99.5 {
		return fmt.Sprintf("missed by %.2g %%", excess)
	}
	return fmt.Sprintf("missed: %.2g times as much", b.measured/b.limit)
}

// budgets compares the measurements with their budgets. A budget without measurement has no row.
func budgets(r *result) []budget {
	var out []budget
	for _, c := range r.Cases {
		out = append(out, c.budgets(r.Objects)...)
	}
	for _, b := range r.Benchmarks {
		switch kind, _, _ := strings.Cut(b.Name, "/"); kind {
		case "Render":
			out = append(out, budget{"chart and post-renderer, " + b.Name, 5, b.Values["ns/op"] / 1e6, "ms"})
		case "Evaluate":
			out = append(out, budget{"policies, p99, " + b.Name, 1, b.Values["p99-µs"] / 1e3, "ms"})
		}
	}
	return out
}

// budgets returns the budgets of a case. The median of the rounds counts, or the worst if the budget is zero or for memory.
func (c *testCase) budgets(objects int) []budget {
	var out []budget
	add := func(what string, limit float64, values []float64, of func([]float64) float64, unit string) {
		if len(values) > 0 {
			out = append(out, budget{fmt.Sprintf("%s: %s servers in %s", what, number(c.Servers), c.where()), limit, of(values), unit})
		}
	}
	worst := slices.Max[[]float64]
	add("API calls of a turn with nothing to do", 0, values(c.Operator, touched, phase.allCallsPerServer), worst, "")
	add(fmt.Sprintf("API calls of an install of n objects (n = %d), without events", objects), float64(objects+4), values(c.Operator, applied, phase.callsPerServer), median, "")
	add("until all are released, in times of the plain client's", 1.5, []float64{c.ratio(applied)}, worst, "")
	add("writes after a restart", 0, values(c.Operator, restarted, phase.writes), worst, "")
	if limit, ok := map[int]float64{1000: 150, 5000: 300}[c.Servers]; ok {
		add("memory at rest (VmRSS)", limit, values(c.Operator, started, rss), worst, "MiB")
		add("memory at most (VmHWM)", limit, c.peaks(), worst, "MiB")
	}
	return out
}

func writeBudgets(out *strings.Builder, all []budget) {
	out.WriteString("| what | budget | measured | |\n|---|---|---|---|\n")
	for _, b := range all {
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", b.what, quantity(b.limit, b.unit), quantity(b.measured, b.unit), b.verdict())
	}
	out.WriteString("\n")
}

// where returns the distribution of the servers of a case.
func (c *testCase) where() string {
	if c.Namespaces == 1 {
		return "one namespace"
	}
	return fmt.Sprintf("%d namespaces", c.Namespaces)
}

// peaks returns the peak memory of the operator in each turn.
func (c *testCase) peaks() []float64 {
	var out []float64
	for _, t := range c.Operator {
		for _, p := range t.Phases {
			out = append(out, float64(p.Loop.PeakRSS)/mebibyte)
		}
	}
	return out
}

func rss(p phase) float64 { return float64(p.Loop.RSS) / mebibyte }

// values returns the values of a phase in all turns.
func values(turns []*turn, name string, of func(phase) float64) []float64 {
	var out []float64
	for _, t := range turns {
		if p := t.phase(name); p != nil {
			out = append(out, of(*p))
		}
	}
	return out
}

func medianOf(turns []*turn, name string, of func(phase) float64) float64 {
	return median(values(turns, name, of))
}

// writeThroughput plots the throughput of both.
func writeThroughput(out *strings.Builder, cases []*testCase) {
	var names []string
	var operator, plain []float64
	for _, c := range cases {
		for _, name := range []string{applied, updated} {
			names = append(names, fmt.Sprintf("%q", fmt.Sprintf("%s %d/%d", name, c.Servers, c.Namespaces)))
			operator, plain = append(operator, medianOf(c.Operator, name, phase.perSecond)), append(plain, medianOf(c.Plain, name, phase.perSecond))
		}
	}
	fmt.Fprintf(out, "Servers a second, by servers and namespaces: the line is the operator, the bars are the plain client.\n\n```mermaid\nxychart-beta\n  x-axis [%s]\n  y-axis \"servers/s\" 0 --> %.0f\n  bar [%s]\n  line [%s]\n```\n\n",
		strings.Join(names, ", "), slices.Max(append(slices.Clone(operator), plain...))*1.1+1, floats(plain), floats(operator))
}

// writeMemory plots the operator's memory in the case with the most servers.
func writeMemory(out *strings.Builder, cases []*testCase) {
	largest := slices.MaxFunc(cases, func(a, b *testCase) int { return a.Servers - b.Servers })
	samples := largest.Operator[0].Memory
	if len(samples) < 2 {
		return
	}
	var held []float64
	for _, sample := range samples {
		held = append(held, float64(sample.RSS)/mebibyte)
	}
	fmt.Fprintf(out, "Memory of the operator (VmRSS, MiB) while it installs %s servers:\n\n```mermaid\nxychart-beta\n  x-axis \"servers released\" %d --> %d\n  y-axis \"MiB\" 0 --> %.0f\n  line [%s]\n```\n\n",
		number(largest.Servers), samples[0].Servers, samples[len(samples)-1].Servers, slices.Max(held)*1.1, floats(held))
}

func floats(all []float64) string {
	texts := make([]string, len(all))
	for i, value := range all {
		texts[i] = strconv.FormatFloat(value, 'f', 1, 64)
	}
	return strings.Join(texts, ", ")
}

func writeCase(out *strings.Builder, c *testCase) {
	fmt.Fprintf(out, "### %s servers in %s\n\n", number(c.Servers), c.where())
	writeTimes(out, c)
	writeLoop(out, c)
	writeCalls(out, c)
}

// writeTimes lists the time of each round and the processor time of the relevant programs.
func writeTimes(out *strings.Builder, c *testCase) {
	out.WriteString("| phase | servers | operator | plain client | times as long | CPU: operator | kube-apiserver | all, in times of the plain client's |\n|---|---|---|---|---|---|---|---|\n")
	for _, first := range c.Operator[0].Phases {
		plain, longer, dearer := "", "", ""
		if rounds := values(c.Plain, first.Name, seconds); len(rounds) > 0 {
			plain, longer, dearer = floats(rounds)+" s", fmt.Sprintf("%.2f", c.ratio(first.Name)), fmt.Sprintf("%.2f", c.cpuRatio(first.Name))
		}
		took := floats(values(c.Operator, first.Name, seconds)) + " s"
		if first.ReadySeconds > 0 {
			took += fmt.Sprintf(" (ready after %s s)", floats(values(c.Operator, first.Name, func(p phase) float64 { return p.ReadySeconds })))
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %.1f s | %.1f s | %s |\n", first.Name, number(first.Servers), took, plain, longer,
			medianOf(c.Operator, first.Name, cpuOf("operator")), medianOf(c.Operator, first.Name, cpuOf("kube-apiserver")), dearer)
	}
	out.WriteString("\n")
}

// writeLoop lists the operator's activity in each phase, as the median of the rounds.
func writeLoop(out *strings.Builder, c *testCase) {
	fmt.Fprintf(out, "The operator has %.0f watches open.\n\n", c.Operator[0].Watches)
	out.WriteString("| phase | API calls a server | events a server | turns a server | a turn, p50 / p99 | in the queue, mean / p50 / p99 | VmRSS | heap in use |\n|---|---|---|---|---|---|---|---|\n")
	for _, first := range c.Operator[0].Phases {
		of := func(of func(phase) float64) float64 { return medianOf(c.Operator, first.Name, of) }
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f | %s / %s | %s / %s / %s | %.0f MiB | %.0f MiB |\n", first.Name,
			of(phase.callsPerServer), of(phase.allCallsPerServer)-of(phase.callsPerServer), of(func(p phase) float64 { return p.Loop.Turns / float64(p.Servers) }),
			duration(of(func(p phase) float64 { return p.Loop.P50 })), duration(of(func(p phase) float64 { return p.Loop.P99 })),
			duration(of(func(p phase) float64 { return p.Loop.Queue })), duration(of(func(p phase) float64 { return p.Loop.Queue50 })), duration(of(func(p phase) float64 { return p.Loop.Queue99 })),
			of(rss), of(func(p phase) float64 { return float64(p.Loop.Heap) / mebibyte }))
	}
	out.WriteString("\n")
}

func cpuOf(program string) func(phase) float64 {
	return func(p phase) float64 { return p.CPU[program] }
}

func seconds(p phase) float64 { return p.Seconds }

// writeCalls lists the requests of the two common phases. Watches are omitted because they count when they end.
func writeCalls(out *strings.Builder, c *testCase) {
	out.WriteString("API calls for each server:\n\n| call | apply: operator | plain client | the API server takes, mean / p99 | update: operator | plain client | the API server takes, mean / p99 |\n|---|---|---|---|---|---|---|\n")
	for _, name := range callNames(c) {
		of := func(turns []*turn, phaseName string) string {
			each := medianOf(turns, phaseName, func(p phase) float64 { return p.call(name).Count / float64(p.Servers) })
			if each == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", each)
		}
		takes := func(phaseName string) string {
			if of(c.Operator, phaseName) == "" {
				return ""
			}
			return duration(medianOf(c.Operator, phaseName, func(p phase) float64 { return p.call(name).Mean })) + " / " +
				duration(medianOf(c.Operator, phaseName, func(p phase) float64 { return p.call(name).P99 }))
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s |\n", name,
			of(c.Operator, applied), of(c.Plain, applied), takes(applied), of(c.Operator, updated), of(c.Plain, updated), takes(updated))
	}
	out.WriteString("\n")
}

func callNames(c *testCase) []string {
	var names []string
	for _, t := range slices.Concat(c.Operator, c.Plain) {
		for _, name := range []string{applied, updated} {
			for _, call := range t.phase(name).Calls {
				if call.Count/float64(c.Servers) >= 0.005 && !call.watch() && !slices.Contains(names, call.Call) {
					names = append(names, call.Call)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// call returns the count of a kind of requests, which may be zero.
func (p phase) call(name string) callCount {
	i := slices.IndexFunc(p.Calls, func(c callCount) bool { return c.Call == name })
	if i < 0 {
		return callCount{}
	}
	return p.Calls[i]
}

func writeBenchmarks(out *strings.Builder, all []benchmark) {
	if len(all) == 0 {
		return
	}
	out.WriteString("### Parts of the way of one server\n\n| Go benchmark | time | p99 | allocated | allocations |\n|---|---|---|---|---|\n")
	for _, b := range all {
		p99 := ""
		if value, ok := b.Values["p99-µs"]; ok {
			p99 = duration(value / 1e6)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %.1f KiB | %s |\n", b.Name, duration(b.Values["ns/op"]/1e9), p99, b.Values["B/op"]/1024, number(int(b.Values["allocs/op"])))
	}
	fmt.Fprintf(out, "\nEach is the median of %d runs.\n", all[0].Runs)
}

// number formats a number with commas between thousands.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// quantity formats a number with its significant decimals and a unit.
func quantity(value float64, unit string) string {
	text := strconv.FormatFloat(value, 'f', 2, 64)
	text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	return strings.TrimSpace(text + " " + unit)
}

// duration formats seconds in a suitable unit.
func duration(seconds float64) string {
	switch {
	case seconds == 0:
		return "0"
	case seconds < 1e-5:
		return fmt.Sprintf("%.1f µs", seconds*1e6)
	case seconds < 1e-3:
		return fmt.Sprintf("%.0f µs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	}
	return fmt.Sprintf("%.1f s", seconds)
}
