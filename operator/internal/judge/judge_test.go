// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package judge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

func newRenderer(t *testing.T) *render.Renderer {
	t.Helper()
	renderer, err := render.New(chart.Files, config.Default())
	if err != nil {
		t.Fatal(err)
	}
	return renderer
}

// samples returns servers that render, as inputs.
func samples(t *testing.T, renderer *render.Renderer) []policies.Input {
	t.Helper()
	inputs, err := judge.Samples(renderer)
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%d samples: %v", len(inputs), err)
	}
	return inputs
}

// TestSamplesHaveAnswers checks that the built-in rules evaluate the samples, so that only a custom rule can fail on them.
func TestSamplesHaveAnswers(t *testing.T) {
	for _, input := range samples(t, newRenderer(t)) {
		evaluator, err := policies.New(t.Context(), policies.Options{Config: policies.Default()})
		if err != nil {
			t.Fatal(err)
		}
		if result, err := evaluator.Evaluate(t.Context(), input); err != nil || result.Denied() {
			t.Errorf("%s of a sample: %+v, %v", input.Operation, result, err)
		}
	}
}

func TestAskWaitsForThePolicies(t *testing.T) {
	renderer := newRenderer(t)
	policyJudge := judge.New(renderer)
	question := judge.Case{Operation: policies.Create, Server: samples(t, renderer)[0].Object, Namespace: policies.Namespace{Name: "sample"}}

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var failed *policies.EvaluationError
	if _, err := policyJudge.Ask(short, question); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failed) {
		t.Errorf("got %v, want a timeout, which is not a failure of the policies", err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := policyJudge.Ask(t.Context(), question)
		answer <- err
	}()
	evaluator, err := policies.New(t.Context(), policies.Options{Config: policies.Default()})
	if err != nil {
		t.Fatal(err)
	}
	policyJudge.Use(evaluator)
	if err := <-answer; err != nil {
		t.Errorf("got %v, want a result as soon as there are policies", err)
	}
	reason := errors.New("a ConfigMap is wrong")
	policyJudge.UseNone(reason)
	if _, err := policyJudge.Ask(t.Context(), question); !errors.As(err, &failed) || !errors.Is(err, reason) {
		t.Errorf("got %v, want an error with %v", err, reason)
	}
}

func TestUnrenderableSpecIsNotEvaluated(t *testing.T) {
	renderer := newRenderer(t)
	server := samples(t, renderer)[0].Object.DeepCopy()
	server.Spec.Patches = []v1alpha1.Patch{{Target: v1alpha1.PatchTarget{Kind: "Job"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"a": 1}`}}
	policyJudge := judge.New(renderer)
	policyJudge.UseNone(errors.New("there are none"))
	var failed *judge.RenderError
	if _, err := policyJudge.Ask(t.Context(), judge.Case{Operation: policies.Create, Server: server}); !errors.As(err, &failed) {
		t.Errorf("got %v, want a RenderError", err)
	}
}
