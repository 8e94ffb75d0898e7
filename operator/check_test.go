// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
	"github.com/jupyterserver/jupyter-server-operator/test/golden"
)

// outputs are the sections of a golden file that are compared. The error is the same for all formats.
var outputs = []string{"table", "json", "sarif", "junit", "error"}

// TestCheckGolden runs the command of every golden file on the files in it, once for each format.
func TestCheckGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/check/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			archive.Files = append(input(archive), checkGolden(t, archive)...)
			golden.Check(t, file, string(txtar.Format(archive)))
		})
	}
}

// input returns the files of a golden file that the command reads.
func input(archive *txtar.Archive) []txtar.File {
	return slices.DeleteFunc(slices.Clone(archive.Files), func(file txtar.File) bool { return slices.Contains(outputs, file.Name) })
}

func checkGolden(t *testing.T, archive *txtar.Archive) []txtar.File {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, file := range input(archive) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file.Name), 0o755), os.WriteFile(file.Name, file.Data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var got []txtar.File
	ended := map[string]bool{}
	for _, format := range outputs[:4] {
		out, err := execute(t, "", append(strings.Fields(string(archive.Comment)), "-o", format)...)
		out = strings.ReplaceAll(out, fmt.Sprintf("%q", version), `"VERSION"`)
		if out != "" {
			got = append(got, txtar.File{Name: format, Data: []byte(out)})
		}
		ended[ending(err)] = true
	}
	if len(ended) != 1 {
		t.Errorf("the formats end differently: %v", ended)
	}
	for end := range ended {
		got = append(got, txtar.File{Name: "error", Data: []byte(end)})
	}
	return got
}

// ending returns the exit code and the text written to standard error.
func ending(err error) string {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return fmt.Sprintf("exit %d\n%v\n", exit.code, err)
	}
	return "exit 0\n"
}

// ownRule requires a label.
const ownRule = `package jupyterserver.custom.labels

verdicts contains {"id": "team-label", "message": "the label team is missing", "path": "metadata.labels"} if {
	object.get(input.object.metadata, ["labels", "team"], "") == ""
}
`

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	settings := file("config.yaml", "policies: {rules: {auth-none: {allow: true}}}\n")
	byLabel := file("by-label.yaml", "policies: {namespaces: [{selector: {matchLabels: {open: \"true\"}}, rules: {auth-none: {allow: true}}}]}\n")
	exempted := file("exempted.yaml", "policies: {exemptions: [{rules: [auth-none], servers: [default/alice], reason: a try}]}\n")
	audited := file("audited.yaml", "policies: {rules: {auth-none: {severity: audit}}}\n")
	file("failing/a.rego", ownRule)
	failing := filepath.Dir(file("failing/a_test.rego", "package jupyterserver.custom.a_test\n\ntest_it if false\n"))
	wrong := file("wrong.yaml", server+"---\n"+strings.Replace(strings.Replace(server, "alice", "bob", 1), "host", "hots", 1))
	open := strings.Replace(server, "spec: {", "spec: {auth: {mode: none}, ", 1)
	patched := strings.Replace(server, "spec: {", `spec: {auth: {mode: oidc, oidc: {issuerUrl: "https://id.example.org", clientId: x, allow: {users: [u]}}}, patches: [{target: {kind: ConfigMap, name: alice-access}, type: merge, patch: "data: {routes.yaml: x}"}], `, 1)
	for _, test := range []struct {
		reason string
		args   []string
		stdin  string
		want   string // in the output
		err    string // in the error
		code   int
	}{
		{reason: "a server that all rules allow", args: []string{"-f", "-"}, stdin: server, want: "compliant"},
		{reason: "a server that a rule denies", args: []string{"-f", "-"}, stdin: open, want: "auth-none", err: "violations", code: 1},
		{reason: "settings of the rules apply", args: []string{"-f", "-", "--config", settings}, stdin: open, want: "compliant"},
		{reason: "labels of a namespace in the files apply", args: []string{"-f", "-", "--config", byLabel}, stdin: "kind: Namespace\napiVersion: v1\nmetadata: {name: default, labels: {open: \"true\"}}\n---\n" + open, want: "compliant"},
		{reason: "a namespace that is not in the files has no labels", args: []string{"-f", "-", "--config", byLabel}, stdin: open, want: "auth-none", err: "violations", code: 1},
		{reason: "an exempt verdict is not a violation", args: []string{"-f", "-", "--config", exempted}, stdin: open, want: "Exempt: a try"},
		{reason: "an audited verdict is not a violation", args: []string{"-f", "-", "--config", audited}, stdin: open, want: "audit"},
		{reason: "a warning is not a violation", args: []string{"-f", "-"}, stdin: strings.Replace(server, "spec: {", "spec: {auth: {token: {value: a-token-that-is-long-enough}}, ", 1), want: "inline-secrets"},
		{reason: "a custom rule", args: []string{"-f", "-", "--policies", file("own/labels.rego", ownRule)}, stdin: server, want: "team-label", err: "violations", code: 1},
		{reason: "JSON output", args: []string{"-f", "-", "-o", "json"}, stdin: open, want: `"id": "auth-none"`, err: "violations", code: 1},
		{reason: "a patch that opens the access control", args: []string{"-f", "-"}, stdin: patched, want: "oidc-intact", err: "violations", code: 1},
		{reason: "two servers at one URL", args: []string{"-f", "-"}, stdin: server + "---\n" + strings.Replace(server, "alice", "bob", 1), want: "route-taken", err: "violations", code: 1},
		{reason: "no file", err: "-f", code: 2},
		{reason: "a missing file", args: []string{"-f", "nowhere.yaml"}, err: "nowhere.yaml", code: 2},
		{reason: "an unknown field", args: []string{"-f", "-"}, stdin: strings.Replace(server, "host", "hots", 1), err: "hots", code: 2},
		{reason: "an unknown flag", args: []string{"--filename-x"}, err: "filename-x", code: 2},
		{reason: "an unexpected argument", args: []string{"alice.yaml"}, err: "alice.yaml", code: 2},
		{reason: "an unknown output format", args: []string{"-f", "-", "-o", "xml"}, stdin: server, err: "xml", code: 2},
		{reason: "the ConfigMaps of the examples", args: []string{"-f", "-", "--policies", "../examples/policies"}, stdin: server, want: "team-label", err: "violations", code: 1},
		{reason: "misspelled settings", args: []string{"-f", "-", "--config", file("misspelled.yaml", "policies: {rules: {auth-nome: {}}}\n")}, stdin: server, err: "auth-nome", code: 2},
		{reason: "a server that cannot be evaluated outweighs a violation, and hides none", args: []string{"-f", wrong, "-f", "-"}, stdin: open, want: "auth-none", err: "bob", code: 2},
		{reason: "a server that does not render is not evaluated", args: []string{"-f", "-"}, stdin: strings.Replace(server, "spec: {", "spec: {patches: [{target: {kind: Job}, type: merge, patch: '{a: b}'}], ", 1), want: "not evaluated", err: "spec.patches[0]", code: 2},
		{reason: "invalid YAML ends the file", args: []string{"-f", "-"}, stdin: server + "---\na: b: c\n", want: "default/alice", err: "document 2: invalid YAML", code: 2},
		{reason: "a file without a server", args: []string{"-f", "-"}, stdin: "kind: Secret\napiVersion: v1\nmetadata: {name: x}\n", err: "contains no JupyterServer", code: 2},
		{reason: "files and a cluster", args: []string{"-f", "-", "--all"}, stdin: server, err: "cannot be combined", code: 2},
		{reason: "flags of --all do not apply to files", args: []string{"-f", "-", "--namespaces", "a"}, stdin: server, err: "--namespaces requires --all", code: 2},
		{reason: "flags of files do not apply to --all", args: []string{"--all", "-n", "a"}, err: "--namespaces", code: 2},
		{reason: "a missing kubeconfig", args: []string{"--all", "--kubeconfig", "nowhere"}, err: "loading the Kubernetes client configuration", code: 2},
		{reason: "missing rules", args: []string{"-f", "-", "--policies", "nowhere"}, stdin: server, err: "--policies: ", code: 2},
		{reason: "a folder without rules", args: []string{"-f", "-", "--policies", filepath.Dir(file("none/README.md", "x"))}, stdin: server, err: "contains no rules", code: 2},
		{reason: "a rule with a syntax error", args: []string{"-f", "-", "--policies", file("mistake/a.rego", "package jupyterserver.custom.a\n\nverdicts contains nothing\n")}, stdin: server, err: "a.rego:3: ", code: 2},
		{reason: "a rule whose test fails", args: []string{"-f", "-", "--policies", failing}, stdin: server, err: "a_test.rego:3: test test_it failed", code: 2},
		{reason: "a rule that fails for some servers", args: []string{"-f", "-", "--policies", file("conflict/a.rego", "package jupyterserver.custom.a\n\nverdicts contains {\"id\": \"a\", \"message\": \"m\", \"path\": x} if some x in [1]\n")}, stdin: server, err: "a.rego", code: 2},
		{reason: "a manifest without rules", args: []string{"-f", "-", "--policies", file("manifest/a.yaml", "kind: Secret\napiVersion: v1\nmetadata: {name: x}\n")}, stdin: server, err: "a.yaml:1: manifest of kind Secret", code: 2},
		{reason: "a ConfigMap that the operator would not read", args: []string{"-f", "-", "--policies", file("unlabelled/a.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndata: {a.rego: x}\n")}, stdin: server, err: "lacks the label jupyterserver.dev/policies", code: 2},
		{reason: "data that cannot be read", args: []string{"-f", "-", "--policies", file("data/a.yaml", "a: b: c\n")}, stdin: server, err: "a.yaml", code: 2},
	} {
		t.Run(test.reason, func(t *testing.T) {
			out, err := execute(t, test.stdin, append([]string{"check"}, test.args...)...)
			var exit *exitError
			if errors.As(err, &exit) != (test.code != 0) || exit != nil && exit.code != test.code {
				t.Fatalf("got %v, want exit code %d", err, test.code)
			}
			if err != nil && !strings.Contains(err.Error(), test.err) || !strings.Contains(out, test.want) {
				t.Errorf("got %v\n%s", err, out)
			}
		})
	}
}

// TestCheckFixtures checks that the command reports the same verdicts as the evaluator for every fixture of the rules, with
// settings selected by namespace labels. One call evaluates all fixtures about a single server; each of the others has its own call.
func TestCheckFixtures(t *testing.T) {
	var alone []policiestest.Fixture
	for _, fixture := range policiestest.Fixtures(t) {
		switch {
		case len(fixture.More) > 0: // no spec renders to these objects
		case len(fixture.Routes) > 0:
			checkFixtures(t, []policiestest.Fixture{fixture}, nil)
		default:
			alone = append(alone, fixture)
		}
	}
	checkFixtures(t, alone, map[string]any{"route-taken": map[string]any{"severity": "off"}, "route-overlap": map[string]any{"severity": "off"}})
}

// checkFixtures evaluates fixtures with their own settings plus settings for all of them.
func checkFixtures(t *testing.T, fixtures []policiestest.Fixture, settings map[string]any) {
	t.Helper()
	var namespaces []any
	var documents []string
	add := func(document any) {
		text, err := yaml.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(text))
	}
	for _, fixture := range fixtures {
		rules := maps.Clone(settings)
		if rules == nil {
			rules = map[string]any{}
		}
		maps.Copy(rules, fixture.Config)
		namespaces = append(namespaces, map[string]any{"selector": map[string]any{"matchLabels": fixture.Labels()}, "rules": rules})
		documents = append(documents, fixture.Manifest)
		add(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": fixture.Namespace(), "labels": fixture.Labels()}})
	}
	for _, fixture := range fixtures {
		for _, route := range fixture.Others() {
			documents = append(documents, policiestest.ManifestAt(route))
		}
	}
	files := strings.Join(documents, "---\n")
	documents = nil
	add(map[string]any{"policies": map[string]any{"namespaces": namespaces}})
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(documents[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := execute(t, files, "check", "-f", "-", "--config", file, "-o", "json")
	var result struct {
		Servers []struct{ Verdicts []policies.Verdict }
		Summary struct{ Denied int }
	}
	if jsonErr := json.Unmarshal([]byte(out), &result); jsonErr != nil || len(result.Servers) < len(fixtures) {
		t.Fatalf("%v\n%s\n%v", jsonErr, out, err)
	}
	var exit *exitError
	if denied := errors.As(err, &exit) && exit.code == exitDenied; denied != (result.Summary.Denied > 0) {
		t.Errorf("%d servers are denied, but the command ended with %v", result.Summary.Denied, err)
	}
	for i, fixture := range fixtures {
		t.Run(fixture.Rule+"/"+fixture.Name, func(t *testing.T) { fixture.Check(t, result.Servers[i].Verdicts) })
	}
}
