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

// samples are servers that render, as inputs.
func samples(t *testing.T, renderer *render.Renderer) []policies.Input {
	t.Helper()
	inputs, err := judge.Samples(renderer)
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%d samples: %v", len(inputs), err)
	}
	return inputs
}

// The built-in rules answer on the samples: a rule of an admin's that does not is to blame itself.
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

func TestQuestionsWaitForThePolicies(t *testing.T) {
	renderer := newRenderer(t)
	asked := judge.New(renderer)
	question := judge.Case{Operation: policies.Create, Server: samples(t, renderer)[0].Object, Namespace: policies.Namespace{Name: "sample"}}

	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var failed *policies.EvaluationError
	if _, err := asked.Ask(impatient, question); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failed) {
		t.Errorf("got %v, want that it waited, which is no failure of the policies", err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := asked.Ask(t.Context(), question)
		answer <- err
	}()
	evaluator, err := policies.New(t.Context(), policies.Options{Config: policies.Default()})
	if err != nil {
		t.Fatal(err)
	}
	asked.Use(evaluator)
	if err := <-answer; err != nil {
		t.Errorf("got %v, want an answer as soon as there are policies", err)
	}
	reason := errors.New("a ConfigMap is wrong")
	asked.UseNone(reason)
	if _, err := asked.Ask(t.Context(), question); !errors.As(err, &failed) || !errors.Is(err, reason) {
		t.Errorf("got %v, want no answer, because %v", err, reason)
	}
}

func TestWhatDoesNotRenderIsNotJudged(t *testing.T) {
	renderer := newRenderer(t)
	server := samples(t, renderer)[0].Object.DeepCopy()
	server.Spec.Patches = []v1alpha1.Patch{{Target: v1alpha1.PatchTarget{Kind: "Job"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"a": 1}`}}
	asked := judge.New(renderer)
	asked.UseNone(errors.New("there are none"))
	var failed *judge.RenderError
	if _, err := asked.Ask(t.Context(), judge.Case{Operation: policies.Create, Server: server}); !errors.As(err, &failed) {
		t.Errorf("got %v, want that the spec does not render", err)
	}
}
