// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// compiler returns a compiler that checks rules against the schema of the input.
func compiler(t testing.TB) *ast.Compiler {
	t.Helper()
	schemas, err := policies.InputSchema()
	if err != nil {
		t.Fatal(err)
	}
	return ast.NewCompiler().WithCapabilities(policies.Capabilities()).WithStrict(true).WithSchemas(schemas)
}

func TestMisspeltFieldsOfTheInputAreFound(t *testing.T) {
	const custom = "package jupyterserver.custom.team\n\nverdicts contains 1 if "
	tests := map[string]struct {
		module string
		found  string // part of the error; empty if it compiles
		reason string
	}{
		"field":           {custom + "input.object.spec.jupyterServer.image", "", "the field exists"},
		"any label":       {custom + `input.object.metadata.labels.team == "a"`, "", "labels have arbitrary names"},
		"any annotation":  {custom + `input.namespace.annotations["example.org/a"] == "b"`, "", "annotations have arbitrary names"},
		"any object":      {custom + "input.objects[_].spec.template.spec.containers[_].image", "", "objects are of many kinds"},
		"number or text":  {custom + "input.object.spec.pod.volumes[_].emptyDir.sizeLimit in {1, \"1Gi\"}", "", "a quantity can be either"},
		"port, a number":  {custom + "input.object.spec.pod.containers[_].livenessProbe.httpGet.port == 80", "", "a port can be a number or a name"},
		"port, a name":    {custom + `input.object.spec.pod.containers[_].livenessProbe.httpGet.port == "http"`, "", "a port can be a number or a name"},
		"settings":        {custom + "input.config.rules.names.pattern", "", "settings have no schema"},
		"no old object":   {custom + "is_null(input.oldObject)", "", "oldObject can be null"},
		"misspelt":        {custom + "input.object.spec.jupyterSever.image", `have: "jupyterSever"`, "the field does not exist"},
		"by a variable":   {custom + "{\n\tserver := input.object\n\tserver.spec.jupyterSever.image\n}", `have: "jupyterSever"`, "a variable has the type of its value"},
		"by another rule": {custom + "server.spec.jupyterSever.image\n\nserver := input.object", `have: "jupyterSever"`, "a rule has the type of its value"},
		"by our rule": {custom + "data.jupyterserver.admission.server.spec.jupyterSever.image", `have: "jupyterSever"`,
			"shared rules have the type of their value"},
		"in a list":    {custom + "{\n\tsome container in input.object.spec.pod.containers\n\tcontainer.imag\n}", `have: "imag"`, "lists have items of one type"},
		"negated":      {custom + "not input.object.spec.storage.sise", `have: "sise"`, "it would match every server"},
		"old object":   {custom + "input.oldObject.spec.sotrage", `have: "sotrage"`, "oldObject is a server"},
		"metadata":     {custom + "input.object.metadata.lables", `have: "lables"`, "metadata has a schema"},
		"namespace":    {custom + "input.namespace.lables", `have: "lables"`, "the field does not exist"},
		"user":         {custom + "input.user.groupes", `have: "groupes"`, "the field does not exist"},
		"route":        {custom + "input.routes[_].hots", `have: "hots"`, "the field does not exist"},
		"root":         {custom + "input.obejct", `have: "obejct"`, "the field does not exist"},
		"status":       {custom + "input.object.status", `have: "status"`, "status is not part of the input"},
		"other type":   {custom + "input.object.spec.suspend == \"yes\"", "match error", "it would never match"},
		"our own rule": {"package jupyterserver.admission\n\nverdicts contains 1 if server.spec.jupyterSever", `have: "jupyterSever"`, "built-in rules are checked as well"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			all := modules(t)
			all["team.rego"] = ast.MustParseModule(test.module)
			c := compiler(t)
			c.Compile(all)
			if test.found == "" {
				if c.Failed() {
					t.Errorf("got %v, though %s", c.Errors, test.reason)
				}
				return
			}
			if len(c.Errors) != 1 || !strings.Contains(c.Errors.Error(), test.found) {
				t.Errorf("got %v, want an error with %q, because %s", c.Errors, test.found, test.reason)
			}
		})
	}
}

// Tests of rules use partial inputs.
func TestPartialInputsCompile(t *testing.T) {
	all := modules(t)
	tests, err := filepath.Glob("*_test.rego")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, name := range tests {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = ast.MustParseModuleWithOpts(string(raw), ast.ParserOptions{ProcessAnnotation: true})
	}
	all["team.rego"] = ast.MustParseModule(`package jupyterserver.custom.team

verdicts contains {"id": "team"} if not input.object.metadata.labels.team`)
	all["team_test.rego"] = ast.MustParseModule(`package jupyterserver.custom.team_test

import data.jupyterserver.custom.team

test_team if count(team.verdicts) == 1 with input as {"object": {"metadata": {}}}

test_other if count(team.verdicts) == 0 with input.object.metadata.labels as {"team": "a"}`)
	if c := compiler(t); !compiles(c, all) {
		t.Error(c.Errors)
	}
}

func compiles(c *ast.Compiler, all map[string]*ast.Module) bool {
	c.Compile(all)
	return !c.Failed()
}

// The schema must match the input, or valid rules would be rejected.
func TestSchemaDescribesTheInput(t *testing.T) {
	schemas, err := policies.InputSchema()
	if err != nil {
		t.Fatal(err)
	}
	schema, ok := schemas.Get(ast.SchemaRootRef).(map[string]any)
	if !ok {
		t.Fatal("the schema is not an object")
	}
	query, err := rego.New(rego.Query("[valid, errors] := json.match_schema(input.value, input.schema)")).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := ast.InterfaceToValue(schema)
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range append(fixtures, "../examples/token.yaml", "../examples/oidc.yaml") {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		in := input(t, read(t, string(raw)))
		in.Routes = []policies.Route{{Namespace: "a", Name: "b", Host: "c", Path: "/d"}}
		if strings.Contains(file, "default") {
			in.Operation, in.OldObject = policies.Update, in.Object
		}
		value, err := in.Value()
		if err != nil {
			t.Fatal(err)
		}
		both := ast.NewObject([2]*ast.Term{ast.StringTerm("value"), ast.NewTerm(value)}, [2]*ast.Term{ast.StringTerm("schema"), ast.NewTerm(text)})
		results, err := query.Eval(t.Context(), rego.EvalParsedInput(both))
		if err != nil || len(results) != 1 {
			t.Fatalf("%d results: %v", len(results), err)
		}
		if results[0].Bindings["valid"] != true {
			t.Errorf("%s: %v", file, results[0].Bindings["errors"])
		}
		described, _ := schema["properties"].(map[string]any)
		for _, name := range value.(ast.Object).Keys() {
			if field := string(name.Value.(ast.String)); described[field] == nil {
				t.Errorf("the schema lacks input.%s; it has %v", field, slices.Sorted(maps.Keys(described)))
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	all := modules(b)
	for name, with := range map[string]bool{"with the schema": true, "without": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c := ast.NewCompiler().WithCapabilities(policies.Capabilities()).WithStrict(true)
				if with {
					c = compiler(b)
				}
				copies := map[string]*ast.Module{}
				for name, module := range all {
					copies[name] = module.Copy()
				}
				if !compiles(c, copies) {
					b.Fatal(c.Errors)
				}
			}
		})
	}
}
