// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/rendertest"
	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
)

// newReader is expensive, so the reader is shared.
var newReader = sync.OnceValues(schema.NewReader)

// read returns the server of a file as the API server stores it.
func read(t testing.TB, text string) *v1alpha1.JupyterServer {
	t.Helper()
	reader, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := reader.Read(t.Context(), strings.NewReader(text), "science")
	if err != nil || len(servers) != 1 {
		t.Fatalf("%d servers: %v", len(servers), err)
	}
	return servers[0]
}

// rendered returns a server's objects with and without its patches.
func rendered(t testing.TB, server *v1alpha1.JupyterServer) (objects, expected []*unstructured.Unstructured) {
	t.Helper()
	objects, err := rendertest.Objects(server)
	if err != nil {
		t.Fatal(err)
	}
	plain := server.DeepCopy()
	plain.Spec.Patches = nil
	expected, err = rendertest.Objects(plain)
	if err != nil {
		t.Fatal(err)
	}
	return objects, expected
}

// input returns the input of a new server.
func input(t testing.TB, server *v1alpha1.JupyterServer) policies.Input {
	t.Helper()
	in := policies.Input{Operation: policies.Create, Object: server, Namespace: policies.Namespace{Name: server.Namespace}}
	in.Objects, in.Expected = rendered(t, server)
	return in
}

// newEvaluator returns an evaluator with settings in YAML over the defaults.
func newEvaluator(t testing.TB, settings string) *policies.Evaluator {
	t.Helper()
	cfg, err := policies.Parse([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := policies.New(t.Context(), policies.Options{Config: cfg, Timeout: 10 * timeout})
	if err != nil {
		t.Fatal(err)
	}
	return evaluator
}

// TestFixtures renders the server of every fixture and compares the verdicts with the expected ones.
func TestFixtures(t *testing.T) {
	denied, allowed := map[string]bool{}, map[string]bool{}
	cfg, err := policiestest.Config()
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := policies.New(t.Context(), policies.Options{Config: cfg, Timeout: 10 * timeout})
	if err != nil {
		t.Fatal(err)
	}
	for _, fixture := range policiestest.Fixtures(t) {
		t.Run(fixture.Rule+"/"+fixture.Name, func(t *testing.T) {
			in := input(t, read(t, fixture.Manifest))
			in.Namespace.Labels, in.Routes = fixture.Labels(), fixture.Routes
			for _, object := range fixture.More {
				in.Objects = append(in.Objects, &unstructured.Unstructured{Object: object})
			}
			result, err := evaluator.Evaluate(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			fixture.Check(t, result.Verdicts)
		})
		if slices.Contains(slices.Concat(fixture.Deny, fixture.Warn), fixture.Rule) {
			denied[fixture.Rule] = true
		} else {
			allowed[fixture.Rule] = true
		}
	}
	for _, id := range ruleIDs(t) {
		if !denied[id] || !allowed[id] {
			t.Errorf("testdata/%s lacks a denied or an allowed server", id)
		}
	}
}

func ids(verdicts []policies.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		out = append(out, v.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
