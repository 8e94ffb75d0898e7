package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// execute runs the command line as main does.
func execute(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := newCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

const server = "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: alice}\nspec: {routing: {host: jupyter.example.org}}\n"

func TestRenderPrintsEveryExample(t *testing.T) {
	examples, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, example := range examples {
		out, err := execute(t, "", "render", "-f", example)
		if err != nil || !strings.Contains(out, "kind: StatefulSet") {
			t.Errorf("%s: %v\n%s", example, err, out)
		}
	}
}

func TestRender(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("ingress: {className: special}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	misspelt := filepath.Join(t.TempDir(), "misspelt.yaml")
	if err := os.WriteFile(misspelt, []byte("ingres: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		reason string
		args   []string
		stdin  string
		want   string // in the output
		err    string // in the error; the output is empty then
	}{
		{reason: "the standard input is read", args: []string{"-f", "-"}, stdin: server, want: "kind: StatefulSet"},
		{reason: "the namespace is the one of the flag", args: []string{"-f", "-", "-n", "science"}, stdin: server, want: "namespace: science"},
		{reason: "the configuration of the operator counts", args: []string{"-f", "-", "--config", config}, stdin: server, want: `ingressClassName: "special"`},
		{reason: "a misspelt configuration is refused", args: []string{"-f", "-", "--config", misspelt}, stdin: server, err: `unknown field "ingres"`},
		{reason: "a file is needed", err: `required flag(s) "filename" not set`},
		{reason: "a file that is not there is named", args: []string{"-f", "nowhere.yaml"}, err: "nowhere.yaml: no such file or directory"},
		{reason: "a file without a server is refused", args: []string{"-f", "-"}, stdin: "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", err: "holds no JupyterServer"},
		{reason: "nothing is printed when the second document is wrong", args: []string{"-f", "-"}, stdin: server + "---\n" + strings.Replace(server, "jupyter.example.org", "'no host'", 1), err: "spec.routing.host"},
		{reason: "a patch that matches nothing is named", args: []string{"-f", "-"}, stdin: strings.Replace(server, "spec: {", "spec: {patches: [{target: {kind: Job}, type: merge, patch: '{}'}], ", 1), err: "spec.patches[0]"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			out, err := execute(t, test.stdin, append([]string{"render"}, test.args...)...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				if out != "" {
					t.Errorf("half an output:\n%s", out)
				}
				return
			}
			if err != nil || !strings.Contains(out, test.want) {
				t.Errorf("error %v, want %q in:\n%s", err, test.want, out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if out, err := execute(t, "", "version"); err != nil || strings.TrimSpace(out) != version {
		t.Errorf("%q, %v", out, err)
	}
}

func TestRunRefusesABrokenConfiguration(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("ingress: {httpPort: 70000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := execute(t, "", "run", "--config", config)
	if err == nil || !strings.Contains(err.Error(), "ingress.httpPort: 70000 is no port") {
		t.Errorf("error %v", err)
	}
}

func TestCheck(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(settings, []byte("rules: {auth-none: {allow: true}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
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
		{reason: "a server that a rule refuses", args: []string{"-f", "-"}, stdin: open, want: "auth-none", err: "refuses", code: 1},
		{reason: "settings of the rules count", args: []string{"-f", "-", "--policies", settings}, stdin: open, want: "compliant"},
		{reason: "JSON for programs", args: []string{"-f", "-", "-o", "json"}, stdin: open, want: `"id": "auth-none"`, err: "refuses", code: 1},
		{reason: "a patch that opens the access control", args: []string{"-f", "-"}, stdin: patched, want: "oidc-intact", err: "refuses", code: 1},
		{reason: "two servers at one URL", args: []string{"-f", "-"}, stdin: server + "---\n" + strings.Replace(server, "alice", "bob", 1), want: "route-taken", err: "refuses", code: 1},
		{reason: "no file is no refusal", err: "-f", code: 2},
		{reason: "a file that is not there is no refusal", args: []string{"-f", "nowhere.yaml"}, err: "nowhere.yaml", code: 2},
		{reason: "nonsense is no refusal", args: []string{"-f", "-"}, stdin: strings.Replace(server, "host", "hots", 1), err: "hots", code: 2},
		{reason: "an unknown flag is no refusal", args: []string{"--filename-x"}, err: "filename-x", code: 2},
		{reason: "an argument is no refusal", args: []string{"alice.yaml"}, err: "alice.yaml", code: 2},
		{reason: "an unknown output is no refusal", args: []string{"-f", "-", "-o", "xml"}, stdin: server, err: "xml", code: 2},
		{reason: "misspelt settings are no refusal", args: []string{"-f", "-", "--policies", "../examples/token.yaml"}, stdin: server, err: "policies", code: 2},
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
