// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
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
	misspelled := filepath.Join(t.TempDir(), "misspelled.yaml")
	if err := os.WriteFile(misspelled, []byte("ingres: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		reason string
		args   []string
		stdin  string
		want   string // in the output
		err    string // in the error, which means that the output is empty
	}{
		{reason: "the standard input is read", args: []string{"-f", "-"}, stdin: server, want: "kind: StatefulSet"},
		{reason: "the flag sets the namespace", args: []string{"-f", "-", "-n", "science"}, stdin: server, want: `namespace: "science"`},
		{reason: "the operator's configuration applies", args: []string{"-f", "-", "--config", config}, stdin: server, want: `ingressClassName: "special"`},
		{reason: "a misspelled configuration is rejected", args: []string{"-f", "-", "--config", misspelled}, stdin: server, err: `unknown field "ingres"`},
		{reason: "a file is required", err: `required flag(s) "filename" not set`},
		{reason: "a missing file is named", args: []string{"-f", "nowhere.yaml"}, err: "nowhere.yaml: no such file or directory"},
		{reason: "a file without a server is rejected", args: []string{"-f", "-"}, stdin: "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", err: "contains no JupyterServer"},
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
					t.Errorf("partial output:\n%s", out)
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

func TestRunRejectsAnInvalidConfiguration(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("ingress: {httpPort: 70000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := execute(t, "", "run", "--config", config)
	if err == nil || !strings.Contains(err.Error(), "ingress.httpPort: 70000 is not a port") {
		t.Errorf("error %v", err)
	}
}

func TestRunRejectsAnInvalidShardSelector(t *testing.T) {
	_, err := execute(t, "", "run", "--shard-selector", "shard in a")
	if err == nil || !strings.Contains(err.Error(), "reading --shard-selector: ") {
		t.Errorf("error %v", err)
	}
}

func TestLeaseName(t *testing.T) {
	names := map[string]string{}
	for _, o := range []runOptions{
		{},
		{shardSelector: "shard=a"},
		{shardSelector: "shard=b"},
		{namespaces: []string{"a"}},
		{namespaces: []string{"a", "b"}},
		{leaderElectionID: "given", shardSelector: "shard=a"},
	} {
		name := leaseName(o)
		if other, taken := names[name]; taken {
			t.Errorf("%+v has the lease of %s", o, other)
		}
		names[name] = fmt.Sprintf("%+v", o)
	}
	if names["jupyter-server-operator"] == "" || names["given"] == "" {
		t.Errorf("the leases are %v", names)
	}
}
