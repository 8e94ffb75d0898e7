// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// timeout is long enough for a busy machine with the race detector, and short enough to wait for.
const timeout = 3 * time.Second

// teamLabel is a custom rule.
const teamLabel = `package jupyterserver.custom.team_label

verdicts contains {"id": "team-label", "message": "the label team is missing", "path": "metadata.labels"} if {
	not input.object.metadata.labels.team
}
`

func newCustom(t testing.TB, settings string, trials []policies.Input, files map[string]string) (*policies.Evaluator, error) {
	t.Helper()
	cfg, err := policies.Parse([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	var sources []policies.Source
	for name, text := range files {
		sources = append(sources, policies.Source{Name: name, Text: text})
	}
	return policies.New(t.Context(), policies.Options{Config: cfg, Sources: sources, Trials: trials, Timeout: timeout})
}

func TestCustomRules(t *testing.T) {
	const deny = `package jupyterserver.custom.x
verdicts contains {"id": "x-y", "severity": "SEVERITY", "message": "m", "path": "p", "remediation": "r"}
`
	for _, test := range []struct {
		reason     string
		settings   string
		files      map[string]string
		deny, warn []string
		audit      []string
	}{
		{reason: "a rule without a severity denies", files: map[string]string{"a.rego": teamLabel}, deny: []string{"team-label"}},
		{reason: "a rule can warn", files: map[string]string{"a.rego": strings.Replace(deny, "SEVERITY", "warn", 1)}, warn: []string{"x-y"}},
		{reason: "a rule can be audited", files: map[string]string{"a.rego": strings.Replace(deny, "SEVERITY", "audit", 1)}, audit: []string{"x-y"}},
		{reason: "settings override the severity of a rule", settings: "custom: {team-label: {severity: audit}}", files: map[string]string{"a.rego": teamLabel}, audit: []string{"team-label"}},
		{reason: "a rule can be disabled", settings: "custom: {team-label: {severity: off}}", files: map[string]string{"a.rego": teamLabel}},
		{reason: "two packages both count", files: map[string]string{"a.rego": teamLabel, "b.rego": strings.Replace(deny, "SEVERITY", "deny", 1)}, deny: []string{"team-label", "x-y"}},
		{reason: "a built-in rule can be audited", settings: "rules: {names: {pattern: x, severity: audit}}", audit: []string{"names"}},
		{
			reason: "data comes from other files, and helpers from a library and from the built-in rules",
			files: map[string]string{
				"limits.yaml": "limits: {science: 1}",
				"lib.rego":    "package jupyterserver.lib.limits\n\nlimit := data.limits[input.namespace.name]\n",
				"a.rego": `package jupyterserver.custom.containers
import data.jupyterserver.lib.limits
verdicts contains {"id": "few-containers", "message": sprintf("at most %d", [limits.limit]), "path": "p"} if {
	count(data.jupyterserver.admission.containers) >= limits.limit
}
`,
			},
			deny: []string{"few-containers"},
		},
		{
			reason: "passing tests have no effect",
			files: map[string]string{"a.rego": teamLabel, "a_test.rego": `package jupyterserver.custom.team_label_test
import data.jupyterserver.custom.team_label
test_missing if count(team_label.verdicts) == 1 with input as {"object": {"metadata": {}}}
test_there if count(team_label.verdicts) == 0 with input as {"object": {"metadata": {"labels": {"team": "a"}}}}
`},
			deny: []string{"team-label"},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			in := input(t, read(t, plainServer))
			evaluator, err := newCustom(t, test.settings, []policies.Input{in}, test.files)
			if err != nil {
				t.Fatal(err)
			}
			result, err := evaluator.Evaluate(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(ids(result.Denials()), test.deny) || !slices.Equal(ids(result.Warnings()), test.warn) || !slices.Equal(ids(result.Audited()), test.audit) {
				t.Errorf("%+v", result.Verdicts)
			}
		})
	}
}

func TestErrorsInSourcesAreLocated(t *testing.T) {
	const head = "package jupyterserver.custom.x\n\n"
	for _, test := range []struct {
		reason string
		files  map[string]string
		want   []string // parts of the error; the first is its prefix
	}{
		{"invalid Rego", map[string]string{"team/a.rego": head + "verdicts contains {"}, []string{"team/a.rego:3: "}},
		{"an empty module", map[string]string{"a.rego": "# nothing\n"}, []string{"a.rego"}},
		{"Rego v0", map[string]string{"a.rego": head + "verdicts[x] { x := 1 }"}, []string{"a.rego:3: "}},
		{"a built-in package", map[string]string{"a.rego": "package jupyterserver.admission\n\ncomplete := true\n"}, []string{"a.rego:1: ", "jupyterserver.custom.NAME"}},
		{"an unknown package", map[string]string{"a.rego": "package main\n\nverdicts := set()\n"}, []string{"a.rego:1: "}},
		{"a test in a built-in package", map[string]string{"a_test.rego": "package jupyterserver.admission\n\nsettled := {}\n"}, []string{"a_test.rego:1: "}},
		{"no verdicts", map[string]string{"a.rego": head + "verdict contains 1\n"}, []string{"a.rego:1: ", "verdicts"}},
		{"a misspelt name", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := inptu.object\n}\n"}, []string{"a.rego:4: ", "inptu"}},
		{"an unused variable", map[string]string{"a.rego": head + "verdicts contains 1 if {\n\tx := 1\n}\n"}, []string{"a.rego:4: ", "unused"}},
		{"a misspelt field", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := input.object.spec.jupyterSever\n}\n"}, []string{"a.rego:4: ", "jupyterSever"}},
		{"network access", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := http.send({\"url\": \"http://a\", \"method\": \"get\"})\n}\n"}, []string{"a.rego:4: ", "http.send"}},
		{"clock access", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := time.now_ns()\n}\n"}, []string{"a.rego:4: ", "time.now_ns"}},
		{"environment access", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := opa.runtime()\n}\n"}, []string{"a.rego:4: ", "opa.runtime"}},
		{"conflicting modules", map[string]string{"a.rego": head + "verdicts := set()\n", "b.rego": head + "verdicts contains 1\n"}, []string{"a.rego:"}},
		{"a missing dependency", map[string]string{"a.rego": head + "verdicts contains data.jupyterserver.lib.nothing.at(1)\n"}, []string{"a.rego:3: "}},
		{"verdicts that are not a set", map[string]string{"a.rego": head + "verdicts := {\"a\": 1}\n"}, []string{"a.rego: ", "jupyterserver.custom.x"}},
		{"a verdict without a message", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"a\", \"path\": \"p\"}\n"}, []string{"a.rego: ", "message"}},
		{"a verdict with an unknown field", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"a\", \"path\": \"p\", \"message\": \"m\", \"exemption\": \"x\"}\n"}, []string{"a.rego: ", "exemption"}},
		{"a verdict with an unknown severity", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"a\", \"path\": \"p\", \"message\": \"m\", \"severity\": \"fatal\"}\n"}, []string{"a.rego: ", "fatal"}},
		{"the ID of a built-in rule", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"auth-none\", \"path\": \"p\", \"message\": \"m\"}\n"}, []string{"a.rego: ", "auth-none"}},
		{"undefined verdicts", map[string]string{"a.rego": head + "verdicts := set() if input.user.name == \"x\"\n"}, []string{"a.rego: ", "undefined"}},
		{"an evaluation error", map[string]string{"a.rego": head + "verdicts := {x | x := to_number(input.operation)}\n"}, []string{"a.rego:3: "}},
		{"a timeout", map[string]string{"a.rego": head + "verdicts := {x | some x in numbers.range(1, 100000000)}\n"}, []string{"a.rego", "deadline"}},
		{"a failing test", map[string]string{"a.rego": teamLabel, "a_test.rego": "package jupyterserver.custom.x_test\n\ntest_it if count(data.jupyterserver.custom.team_label.verdicts) == 99\n"}, []string{"a_test.rego:3: ", "test_it"}},
		{"a test that does not compile", map[string]string{"a_test.rego": "package jupyterserver.custom.x_test\n\ntest_it if nothing\n"}, []string{"a_test.rego:3: "}},
		{"data that is not an object", map[string]string{"a.yaml": "[1]"}, []string{"a.yaml: "}},
		{"reserved data", map[string]string{"a.yaml": "jupyterserver: {}"}, []string{"a.yaml: ", "jupyterserver"}},
		{"duplicate data", map[string]string{"a.yaml": "x: 1", "b.json": `{"x": 1}`}, []string{"b.json: ", "x", "a.yaml"}},
		{"data with two documents", map[string]string{"a.yaml": "x: 1\n---\ny: 2\n"}, []string{"a.yaml: ", "more than one document"}},
		{"data with two objects", map[string]string{"a.json": `{"x": 1}{"y": 2}`}, []string{"a.json: "}},
		{"a test with another name", map[string]string{"a_test.rego": "package jupyterserver.custom.x_test\n\ntset_it if true\n"}, []string{"a_test.rego:1: ", "test_"}},
		{"an ID that is too long", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"" + strings.Repeat("a", 64) + "\", \"path\": \"p\", \"message\": \"m\"}\n"}, []string{"a.rego: ", "63"}},
		{"an ID that is reserved for the status", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"compliant\", \"path\": \"p\", \"message\": \"m\"}\n"}, []string{"a.rego: ", "compliant"}},
		{"a file of unknown type", map[string]string{"readme.md": ""}, []string{"readme.md: "}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			_, err := newCustom(t, "", []policies.Input{input(t, read(t, plainServer))}, test.files)
			var errs policies.SourceErrors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("got %v, want SourceErrors", err)
			}
			if !strings.HasPrefix(err.Error(), test.want[0]) {
				t.Errorf("got %v, want the prefix %q", err, test.want[0])
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, want %q in it", err, part)
				}
			}
		})
	}
}

func TestSettingsOfNamespaces(t *testing.T) {
	const settings = `
rules: {image-registries: {allowed: [quay.io]}, image-tags: {forbidden: [latest]}}
namespaces:
- selector: {matchLabels: {trusted: "yes"}}
  rules: {image-registries: {allowed: []}}
- selector: {matchExpressions: [{key: gpu, operator: Exists}]}
  rules: {image-registries: {allowed: [nvcr.io]}, image-tags: {severity: warn}}
`
	evaluator, err := newCustom(t, settings, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reason     string
		labels     map[string]string
		deny, warn []string
	}{
		{"no selector matches", nil, []string{"image-registries", "image-tags"}, nil},
		{"the first selector matches", map[string]string{"trusted": "yes", "gpu": ""}, []string{"image-tags"}, nil},
		{"the second selector matches", map[string]string{"gpu": ""}, nil, []string{"image-tags"}},
	} {
		in := input(t, read(t, plainServer+"  jupyterServer: {image: \"nvcr.io/x:latest\"}\n"))
		in.Namespace.Labels = test.labels
		result, err := evaluator.Evaluate(t.Context(), in)
		if err != nil || !slices.Equal(ids(result.Denials()), test.deny) || !slices.Equal(ids(result.Warnings()), test.warn) {
			t.Errorf("%s: %+v, %v", test.reason, result.Verdicts, err)
		}
	}
}

func TestExemptions(t *testing.T) {
	const settings = `
rules: {image-registries: {allowed: [quay.io]}, names: {pattern: "x.*"}, image-tags: {forbidden: [latest], severity: audit}}
exemptions:
- {rules: [image-registries], servers: [science/alice], reason: until March}
- {rules: [image-registries, names, image-tags], namespaces: {matchLabels: {legacy: "yes"}}, reason: old servers}
`
	evaluator, err := newCustom(t, settings, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reason       string
		name         string
		labels       map[string]string
		deny, exempt []string
		kept         string
	}{
		{"no exemption matches", "bob", nil, []string{"image-registries", "names"}, nil, ""},
		{"the server is listed", "alice", nil, []string{"names"}, []string{"image-registries"}, "until March"},
		{"the namespace is selected", "bob", map[string]string{"legacy": "yes"}, nil, []string{"image-registries", "image-tags", "names"}, "old servers"},
		{"the first matching exemption applies", "alice", map[string]string{"legacy": "yes"}, nil, []string{"image-registries", "image-tags", "names"}, "until March"},
	} {
		in := input(t, read(t, strings.Replace(plainServer, "alice,", test.name+",", 1)+"  jupyterServer: {image: \"evil.org/x:latest\"}\n"))
		in.Namespace.Labels = test.labels
		result, err := evaluator.Evaluate(t.Context(), in)
		if err != nil || !slices.Equal(ids(result.Denials()), test.deny) || !slices.Equal(ids(result.Exempted()), test.exempt) {
			t.Errorf("%s: %+v, %v", test.reason, result.Verdicts, err)
		}
		if len(test.exempt) > 0 && result.Exempted()[0].Exemption != test.kept {
			t.Errorf("%s: got the reason %q", test.reason, result.Exempted()[0].Exemption)
		}
	}
}

func TestMetricsCountDecisions(t *testing.T) {
	metrics := policies.NewMetrics()
	evaluator, err := policies.New(t.Context(), policies.Options{Config: policies.Default(), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := evaluator.Evaluate(t.Context(), input(t, read(t, plainServer+"  auth: {mode: none}\n"))); err != nil {
			t.Fatal(err)
		}
	}
	const want = `
# HELP jupyterserver_policy_decisions_total Verdicts of all evaluations, by rule and severity (deny, warn, audit, exempt).
# TYPE jupyterserver_policy_decisions_total counter
jupyterserver_policy_decisions_total{rule="auth-none",severity="deny"} 2
`
	if err := testutil.CollectAndCompare(metrics, strings.NewReader(want), "jupyterserver_policy_decisions_total"); err != nil {
		t.Error(err)
	}
}
