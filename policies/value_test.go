// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
)

// asJSON returns the input converted by way of JSON.
func asJSON(t *testing.T, in policies.Input) ast.Value {
	t.Helper()
	server := func(s *v1alpha1.JupyterServer) *v1alpha1.JupyterServer {
		if s == nil {
			return nil
		}
		out := s.DeepCopy()
		out.ManagedFields, out.Status = nil, v1alpha1.JupyterServerStatus{}
		return out
	}
	parts := map[string]any{
		"operation": in.Operation, "object": server(in.Object), "oldObject": server(in.OldObject), "namespace": in.Namespace, "user": in.User,
		"routes": in.Routes, "objects": append([]*unstructured.Unstructured{}, in.Objects...),
	}
	if in.Routes == nil {
		parts["routes"] = []policies.Route{}
	}
	if in.Expected != nil {
		parts["expected"] = in.Expected
	}
	raw, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	value, err := ast.ValueFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// A field that is lost or changes its type would make a rule find nothing.
func TestInputEqualsItsJSON(t *testing.T) {
	inputs := map[string]policies.Input{
		"nothing": {},
		"empty values": {
			Object: &v1alpha1.JupyterServer{}, OldObject: &v1alpha1.JupyterServer{}, Objects: []*unstructured.Unstructured{{Object: map[string]any{}}},
			Expected: []*unstructured.Unstructured{}, Namespace: policies.Namespace{Labels: map[string]string{}}, User: policies.User{Groups: []string{}},
		},
		"numbers": {
			Objects: []*unstructured.Unstructured{{Object: map[string]any{"a": []any{int64(1), 1.5, int64(-7), int64(70000), nil, true, ""}}}},
			// Rego treats 1 and 1.0 as equal.
			Expected: []*unstructured.Unstructured{{Object: map[string]any{"a": []any{1.0, 2.5, int64(-7), "70000", false, true}, "b": nil}}},
		},
		"lists and objects in each other's place": {
			Objects:  []*unstructured.Unstructured{{Object: map[string]any{"a": []any{}, "b": map[string]any{}, "c": "1", "d": nil}}},
			Expected: []*unstructured.Unstructured{{Object: map[string]any{"a": map[string]any{}, "b": []any{}, "c": int64(1), "e": nil}}, {Object: map[string]any{}}},
		},
	}
	for _, fixture := range policiestest.Fixtures(t) {
		server := read(t, fixture.Manifest)
		in := input(t, server)
		in.Namespace.Labels, in.Namespace.Annotations = fixture.Labels(), map[string]string{"example.org/a": "b"}
		in.User = policies.User{Name: "alice", Groups: []string{"staff"}}
		inputs[fixture.Rule+"/"+fixture.Name] = in
		in.Operation, in.OldObject, in.Object = policies.Update, server, server.DeepCopy()
		in.Object.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		in.Object.Spec.Suspend = !server.Spec.Suspend
		in.Object.CreationTimestamp, in.Object.DeletionTimestamp = metav1.Unix(1, 0), &metav1.Time{}
		inputs[fixture.Rule+"/"+fixture.Name+", an update"] = in
	}
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			got, err := in.Value()
			if err != nil {
				t.Fatal(err)
			}
			if want := asJSON(t, in); got.Compare(want) != 0 || got.Hash() != want.Hash() {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// Rules about patches compare objects with expected, most of which is equal.
func TestUnpatchedPartsAreShared(t *testing.T) {
	in := input(t, read(t, oidcServer))
	value := func() ast.Object {
		got, err := in.Value()
		if err != nil {
			t.Fatal(err)
		}
		return got.(ast.Object)
	}
	v := value()
	if v.Get(ast.StringTerm("objects")).Value != v.Get(ast.StringTerm("expected")).Value {
		t.Error("equal lists are not shared")
	}
	in.Objects[0] = in.Objects[0].DeepCopy()
	in.Objects[0].SetLabels(map[string]string{"a": "b"})
	v = value()
	got, want := v.Get(ast.StringTerm("objects")).Value.(*ast.Array), v.Get(ast.StringTerm("expected")).Value.(*ast.Array)
	for i := range in.Objects {
		if (got.Elem(i) == want.Elem(i)) != (i > 0) {
			t.Errorf("object %d is shared: %t", i, got.Elem(i) == want.Elem(i))
		}
	}
	spec := ast.StringTerm("spec")
	if got.Elem(0).Get(spec) != want.Elem(0).Get(spec) {
		t.Error("equal parts of an object are not shared")
	}
}

// A rule can evaluate another one on a modified input, which later rules must not see.
func TestRulesDoNotModifyTheInput(t *testing.T) {
	evaluator, err := policies.New(t.Context(), policies.Options{Config: policies.Default(), Sources: []policies.Source{{Name: "team.rego", Text: `package jupyterserver.custom.team

verdicts contains {"id": "team", "message": "another mode would be denied", "path": "spec", "severity": "audit"} if {
	count(data.jupyterserver.admission.verdicts) > 0 with input.object.spec.auth.mode as "none"
	not input.object.spec.auth.mode == "none"
}`}}})
	if err != nil {
		t.Fatal(err)
	}
	result, err := evaluator.Evaluate(t.Context(), input(t, read(t, plainServer)))
	if err != nil || len(result.Verdicts) != 1 || result.Verdicts[0].ID != "team" {
		t.Errorf("%+v, %v", result, err)
	}
}
