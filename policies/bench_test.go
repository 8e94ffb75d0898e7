package policies_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// BenchmarkEvaluate is one evaluation of a rendered server. The budget is 1 ms for 99 of 100.
func BenchmarkEvaluate(b *testing.B) {
	evaluator := newEvaluator(b, "")
	for _, golden := range []string{"minimal", "oidc", "everything"} {
		archive, err := txtar.ParseFile("../operator/render/testdata/" + golden + ".txtar")
		if err != nil {
			b.Fatal(err)
		}
		in := input(b, read(b, serverOf(archive)))
		in.Expected = nil // without patches it is the same
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
