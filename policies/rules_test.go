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

// modules are the rules, without their tests.
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

// defaults are those of the rules in Rego.
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
	delete(inRego, "oidc-intact") // the admin has no say in it
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

// Verdicts hold what annotations say, and so does the documentation.
func TestEveryRuleIsAnnotated(t *testing.T) {
	fallback := defaults(t)
	annotated := map[string]bool{}
	for file, module := range modules(t) {
		for _, rule := range module.Rules {
			if !rule.Head.Name.Equal(ast.Var("verdicts")) {
				continue
			}
			if len(rule.Annotations) != 1 {
				t.Errorf("%s: a rule without annotations: %s", file, rule.Location)
				continue
			}
			a := rule.Annotations[0]
			id, _ := a.Custom["id"].(string)
			remediation, _ := a.Custom["remediation"].(string)
			settings, known := fallback[id].(map[string]any)
			if a.Title == "" || a.Description == "" || remediation == "" || !known || a.Custom["severity"] != settings["severity"] {
				t.Errorf("%s: %s: title, description, remediation, a known id, or the severity of the defaults is missing", file, rule.Location)
			}
			annotated[id] = true
		}
	}
	for id := range fallback {
		if !annotated[id] {
			t.Errorf("no rule has the id %s", id)
		}
	}
}
