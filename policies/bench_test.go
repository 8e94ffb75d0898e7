// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/tools/txtar"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// BenchmarkEvaluate measures one evaluation of a rendered server. The budget is 1 ms at p99.
func BenchmarkEvaluate(b *testing.B) {
	evaluator := newEvaluator(b, "")
	for _, golden := range []string{"minimal", "oidc", "everything"} {
		archive, err := txtar.ParseFile("../operator/internal/render/testdata/" + golden + ".txtar")
		if err != nil {
			b.Fatal(err)
		}
		in := input(b, read(b, serverOf(archive)))
		in.Expected = nil // equal without patches
		b.Run(golden, func(b *testing.B) { benchmark(b, evaluator, in) })
	}
	raw, err := os.ReadFile("testdata/oidc-intact/everything-else.yaml")
	if err != nil {
		b.Fatal(err)
	}
	in := input(b, read(b, string(raw)))
	b.Run("oidc-patched", func(b *testing.B) { benchmark(b, evaluator, in) })
}

func serverOf(archive *txtar.Archive) string {
	for _, file := range archive.Files {
		if file.Name == "server.yaml" {
			return string(file.Data)
		}
	}
	return ""
}

func benchmark(b *testing.B, evaluator *policies.Evaluator, in policies.Input) {
	b.Helper()
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := evaluator.Evaluate(b.Context(), in); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkManyAtOnce measures 200 concurrent evaluations. p50 and p99 come from the metrics, which exclude the wait for a slot;
// p50-all and p99-all include it, from the common start.
func BenchmarkManyAtOnce(b *testing.B) {
	const many = 200
	for _, name := range []string{"minimal", "oidc"} {
		archive, err := txtar.ParseFile("../operator/internal/render/testdata/" + name + ".txtar")
		if err != nil {
			b.Fatal(err)
		}
		in := input(b, read(b, serverOf(archive)))
		in.Expected = nil // equal without patches
		b.Run(name, func(b *testing.B) {
			metrics := policies.NewMetrics()
			evaluator, err := policies.New(b.Context(), policies.Options{Config: policies.Default(), Metrics: metrics})
			if err != nil {
				b.Fatal(err)
			}
			var all []time.Duration
			for b.Loop() {
				took := make([]time.Duration, many)
				var group sync.WaitGroup
				start := time.Now() // common to all, whenever their goroutines run
				for i := range took {
					group.Go(func() {
						if _, err := evaluator.Evaluate(b.Context(), in); err != nil {
							b.Error(err)
						}
						took[i] = time.Since(start)
					})
				}
				group.Wait()
				all = append(all, took...)
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-all-µs")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-all-µs")
			histogram := evaluations(b, metrics)
			b.ReportMetric(quantile(histogram, .5), "p50-µs")
			b.ReportMetric(quantile(histogram, .99), "p99-µs")
		})
	}
}

// evaluations returns the histogram of evaluations.
func evaluations(b *testing.B, metrics *policies.Metrics) *dto.Histogram {
	b.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(metrics); err != nil {
		b.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "jupyterserver_policy_evaluation_seconds" {
			return family.GetMetric()[0].GetHistogram()
		}
	}
	b.Fatal("no histogram")
	return nil
}

// quantile estimates a quantile in microseconds, linearly within a bucket.
func quantile(histogram *dto.Histogram, q float64) float64 {
	wanted := q * float64(histogram.GetSampleCount())
	var lower, below float64
	for _, bucket := range histogram.GetBucket() {
		upper, count := bucket.GetUpperBound(), float64(bucket.GetCumulativeCount())
		if count >= wanted {
			return 1e6 * (lower + (upper-lower)*(wanted-below)/(count-below))
		}
		lower, below = upper, count
	}
	return 1e6 * lower
}
