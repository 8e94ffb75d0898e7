// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// modules returns the rules without their tests.
func modules(t testing.TB) map[string]*ast.Module {
	t.Helper()
	names, err := filepath.Glob("*.rego")
	if err != nil || len(names) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	out := map[string]*ast.Module{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		module, err := ast.ParseModuleWithOpts(name, string(raw), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		out[name] = module
	}
	return out
}

// defaults returns the defaults of the rules in Rego.
func defaults(t testing.TB) map[string]any {
	t.Helper()
	options := []func(*rego.Rego){rego.Query("data.jupyterserver.admission.defaults")}
	for _, module := range modules(t) {
		options = append(options, rego.ParsedModule(module))
	}
	results, err := rego.New(options...).Eval(t.Context())
	if err != nil || len(results) != 1 {
		t.Fatalf("%d results: %v", len(results), err)
	}
	return results[0].Expressions[0].Value.(map[string]any)
}

func ruleIDs(t testing.TB) []string {
	t.Helper()
	var out []string
	for id := range defaults(t) {
		out = append(out, id)
	}
	return out
}

func TestDefaultsInGoAndRegoAreTheSame(t *testing.T) {
	inRego := defaults(t)
	delete(inRego, "oidc-intact") // not configurable
	raw, err := json.Marshal(policies.Default().Rules)
	if err != nil {
		t.Fatal(err)
	}
	var inGo map[string]any
	if err := json.Unmarshal(raw, &inGo); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(inRego)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(inGo, want) {
		t.Errorf("Default: %v\ndefaults: %v", inGo, want)
	}
}

// Verdicts and the documentation contain texts of the annotations.
func TestEveryRuleIsAnnotated(t *testing.T) {
	catalog, err := policies.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	fallback := defaults(t)
	annotated := map[string]bool{}
	for _, rule := range catalog {
		settings, known := fallback[rule.ID].(map[string]any)
		if rule.Title == "" || rule.Description == "" || rule.Remediation == "" || !known || string(rule.Severity) != settings["severity"] {
			t.Errorf("%s:%d: title, description, remediation, a known ID or the default severity is missing: %+v", rule.File, rule.Line, rule)
		}
		annotated[rule.ID] = true
	}
	for id := range fallback {
		if !annotated[id] {
			t.Errorf("no rule has the ID %s", id)
		}
	}
}
