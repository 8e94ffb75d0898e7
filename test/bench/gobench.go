// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// benchmark is the result of one Go benchmark, the median of its runs.
type benchmark struct {
	Name string `json:"name"`
	// Values are keyed by unit: ns/op, B/op, allocs/op and the metrics of the benchmark itself.
	Values map[string]float64 `json:"values"`
	Runs   int                `json:"runs"`
}

// measured are the packages with benchmarks of the path of a server, and chosen selects the benchmarks.
var (
	measured = []string{"./operator/internal/render", "./postrender", "./policies"}
	chosen   = "^Benchmark(Render|Digest|Run|Evaluate)$"
)

// runBenchmarks runs the Go benchmarks in the root of the module.
func runBenchmarks(ctx context.Context) ([]benchmark, error) {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-run", "^$", "-bench", chosen, "-benchmem", "-count", "5"}, measured...)...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("running the Go benchmarks: %w\n%s", err, output)
	}
	return readBenchmarks(string(output)), nil
}

// readBenchmarks parses the output of `go test -bench` (golang.org/design/14313-benchmark-format), in order.
func readBenchmarks(output string) []benchmark {
	var order []string
	values := map[string]map[string][]float64{}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := withoutProcs(strings.TrimPrefix(fields[0], "Benchmark"))
		if values[name] == nil {
			order = append(order, name)
			values[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				values[name][fields[i+1]] = append(values[name][fields[i+1]], value)
			}
		}
	}
	out := make([]benchmark, 0, len(order))
	for _, name := range order {
		b := benchmark{Name: name, Values: map[string]float64{}, Runs: len(values[name]["ns/op"])}
		for unit, all := range values[name] {
			b.Values[unit] = median(all)
		}
		out = append(out, b)
	}
	return out
}

// withoutProcs removes the number of processors that the go command appends to a name: Render/oidc-2.
func withoutProcs(name string) string {
	i := strings.LastIndex(name, "-")
	if i < 0 {
		return name
	}
	if _, err := strconv.Atoi(name[i+1:]); err != nil {
		return name
	}
	return name[:i]
}
