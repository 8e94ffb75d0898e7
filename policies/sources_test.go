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

// teamLabel is a rule of an admin's own.
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
		{reason: "a rule without a severity refuses", files: map[string]string{"a.rego": teamLabel}, deny: []string{"team-label"}},
		{reason: "a rule may warn", files: map[string]string{"a.rego": strings.Replace(deny, "SEVERITY", "warn", 1)}, warn: []string{"x-y"}},
		{reason: "a rule may be tried out", files: map[string]string{"a.rego": strings.Replace(deny, "SEVERITY", "audit", 1)}, audit: []string{"x-y"}},
		{reason: "the admin's settings count more", settings: "custom: {team-label: {severity: audit}}", files: map[string]string{"a.rego": teamLabel}, audit: []string{"team-label"}},
		{reason: "a rule can be switched off", settings: "custom: {team-label: {severity: off}}", files: map[string]string{"a.rego": teamLabel}},
		{reason: "two packages both count", files: map[string]string{"a.rego": teamLabel, "b.rego": strings.Replace(deny, "SEVERITY", "deny", 1)}, deny: []string{"team-label", "x-y"}},
		{reason: "a built-in rule can be tried out", settings: "rules: {names: {pattern: x, severity: audit}}", audit: []string{"names"}},
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
			reason: "tests that pass stand in no one's way",
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

func TestMistakesInSourcesAreNamed(t *testing.T) {
	const head = "package jupyterserver.custom.x\n\n"
	for _, test := range []struct {
		reason string
		files  map[string]string
		want   []string // parts of the error; the first is how it begins
	}{
		{"it is no Rego", map[string]string{"team/a.rego": head + "verdicts contains {"}, []string{"team/a.rego:3: "}},
		{"it is empty", map[string]string{"a.rego": "# nothing\n"}, []string{"a.rego"}},
		{"it is old Rego", map[string]string{"a.rego": head + "verdicts[x] { x := 1 }"}, []string{"a.rego:3: "}},
		{"the package is ours", map[string]string{"a.rego": "package jupyterserver.admission\n\ncomplete := true\n"}, []string{"a.rego:1: ", "jupyterserver.custom.NAME"}},
		{"the package is another one", map[string]string{"a.rego": "package main\n\nverdicts := set()\n"}, []string{"a.rego:1: "}},
		{"a test cannot take our package either", map[string]string{"a_test.rego": "package jupyterserver.admission\n\nsettled := {}\n"}, []string{"a_test.rego:1: "}},
		{"there are no verdicts", map[string]string{"a.rego": head + "verdict contains 1\n"}, []string{"a.rego:1: ", "verdicts"}},
		{"a name is misspelt", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := inptu.object\n}\n"}, []string{"a.rego:4: ", "inptu"}},
		{"a variable is not used", map[string]string{"a.rego": head + "verdicts contains 1 if {\n\tx := 1\n}\n"}, []string{"a.rego:4: ", "unused"}},
		{"a field is misspelt", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := input.object.spec.jupyterSever\n}\n"}, []string{"a.rego:4: ", "jupyterSever"}},
		{"there is no network", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := http.send({\"url\": \"http://a\", \"method\": \"get\"})\n}\n"}, []string{"a.rego:4: ", "http.send"}},
		{"there is no clock", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := time.now_ns()\n}\n"}, []string{"a.rego:4: ", "time.now_ns"}},
		{"the surroundings are nobody's business", map[string]string{"a.rego": head + "verdicts contains x if {\n\tx := opa.runtime()\n}\n"}, []string{"a.rego:4: ", "opa.runtime"}},
		{"two modules are in each other's way", map[string]string{"a.rego": head + "verdicts := set()\n", "b.rego": head + "verdicts contains 1\n"}, []string{"a.rego:"}},
		{"it needs what is not there", map[string]string{"a.rego": head + "verdicts contains data.jupyterserver.lib.nothing.at(1)\n"}, []string{"a.rego:3: "}},
		{"verdicts are no set", map[string]string{"a.rego": head + "verdicts := {\"a\": 1}\n"}, []string{"a.rego: ", "jupyterserver.custom.x"}},
		{"a verdict has no message", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"a\", \"path\": \"p\"}\n"}, []string{"a.rego: ", "message"}},
		{"a verdict has an unknown field", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"a\", \"path\": \"p\", \"message\": \"m\", \"exemption\": \"x\"}\n"}, []string{"a.rego: ", "exemption"}},
		{"a verdict has an unknown severity", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"a\", \"path\": \"p\", \"message\": \"m\", \"severity\": \"fatal\"}\n"}, []string{"a.rego: ", "fatal"}},
		{"an id is ours", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"auth-none\", \"path\": \"p\", \"message\": \"m\"}\n"}, []string{"a.rego: ", "auth-none"}},
		{"verdicts are undefined", map[string]string{"a.rego": head + "verdicts := set() if input.user.name == \"x\"\n"}, []string{"a.rego: ", "undefined"}},
		{"evaluating fails", map[string]string{"a.rego": head + "verdicts := {x | x := to_number(input.operation)}\n"}, []string{"a.rego:3: "}},
		{"it takes too long", map[string]string{"a.rego": head + "verdicts := {x | some x in numbers.range(1, 100000000)}\n"}, []string{"a.rego", "deadline"}},
		{"a test fails", map[string]string{"a.rego": teamLabel, "a_test.rego": "package jupyterserver.custom.x_test\n\ntest_it if count(data.jupyterserver.custom.team_label.verdicts) == 99\n"}, []string{"a_test.rego:3: ", "test_it"}},
		{"a test does not compile", map[string]string{"a_test.rego": "package jupyterserver.custom.x_test\n\ntest_it if nothing\n"}, []string{"a_test.rego:3: "}},
		{"data are no object", map[string]string{"a.yaml": "[1]"}, []string{"a.yaml: "}},
		{"data are ours", map[string]string{"a.yaml": "jupyterserver: {}"}, []string{"a.yaml: ", "jupyterserver"}},
		{"data are there twice", map[string]string{"a.yaml": "x: 1", "b.json": `{"x": 1}`}, []string{"b.json: ", "x", "a.yaml"}},
		{"data are two documents", map[string]string{"a.yaml": "x: 1\n---\ny: 2\n"}, []string{"a.yaml: ", "more than one document"}},
		{"data are two objects", map[string]string{"a.json": `{"x": 1}{"y": 2}`}, []string{"a.json: "}},
		{"a test has another name", map[string]string{"a_test.rego": "package jupyterserver.custom.x_test\n\ntset_it if true\n"}, []string{"a_test.rego:1: ", "test_"}},
		{"an id is too long", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"" + strings.Repeat("a", 64) + "\", \"path\": \"p\", \"message\": \"m\"}\n"}, []string{"a.rego: ", "63"}},
		{"an id is a word of the status", map[string]string{"a.rego": head + "verdicts contains {\"id\": \"compliant\", \"path\": \"p\", \"message\": \"m\"}\n"}, []string{"a.rego: ", "compliant"}},
		{"nobody knows what it is", map[string]string{"readme.md": ""}, []string{"readme.md: "}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			_, err := newCustom(t, "", []policies.Input{input(t, read(t, plainServer))}, test.files)
			var mistakes policies.SourceErrors
			if !errors.As(err, &mistakes) || len(mistakes) == 0 {
				t.Fatalf("got %v, want SourceErrors", err)
			}
			if !strings.HasPrefix(err.Error(), test.want[0]) {
				t.Errorf("got %v, want that it begins with %q", err, test.want[0])
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
		{"no selector takes it", nil, []string{"image-registries", "image-tags"}, nil},
		{"the first one takes it", map[string]string{"trusted": "yes", "gpu": ""}, []string{"image-tags"}, nil},
		{"the second one takes it", map[string]string{"gpu": ""}, nil, []string{"image-tags"}},
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
		{"nobody exempts it", "bob", nil, []string{"image-registries", "names"}, nil, ""},
		{"the server is named", "alice", nil, []string{"names"}, []string{"image-registries"}, "until March"},
		{"the namespace is selected", "bob", map[string]string{"legacy": "yes"}, nil, []string{"image-registries", "image-tags", "names"}, "old servers"},
		{"the first exemption that fits counts", "alice", map[string]string{"legacy": "yes"}, nil, []string{"image-registries", "image-tags", "names"}, "until March"},
	} {
		in := input(t, read(t, strings.Replace(plainServer, "alice,", test.name+",", 1)+"  jupyterServer: {image: \"evil.org/x:latest\"}\n"))
		in.Namespace.Labels = test.labels
		result, err := evaluator.Evaluate(t.Context(), in)
		if err != nil || !slices.Equal(ids(result.Denials()), test.deny) || !slices.Equal(ids(result.Exempted()), test.exempt) {
			t.Errorf("%s: %+v, %v", test.reason, result.Verdicts, err)
		}
		if len(test.exempt) > 0 && result.Exempted()[0].Exemption != test.kept {
			t.Errorf("%s: the reason is %q", test.reason, result.Exempted()[0].Exemption)
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
