// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"os"
	"path/filepath"
	"testing"
)

// Users copy the examples, so they must be compliant by default.
func TestExamplesAreCompliant(t *testing.T) {
	examples, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	evaluator := newEvaluator(t, "")
	for _, example := range examples {
		raw, err := os.ReadFile(example)
		if err != nil {
			t.Fatal(err)
		}
		result, err := evaluator.Evaluate(t.Context(), input(t, read(t, string(raw))))
		if err != nil || len(result.Verdicts) > 0 {
			t.Errorf("%s: %+v, %v", example, result.Verdicts, err)
		}
	}
}
