// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listOf returns a list as `kubectl get -o yaml` prints it.
func listOf(documents ...string) string {
	list := "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n"
	for _, document := range documents {
		list += "- " + strings.ReplaceAll(strings.TrimSpace(document), "\n", "\n  ") + "\n"
	}
	return list
}

// TestSources has what kubectl takes with -f, for check and render.
func TestSources(t *testing.T) {
	const other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	bob := strings.NewReplacer("alice", "bob", "host: ", "path: /bob, host: ").Replace(server)
	stored := strings.Replace(server, "metadata: {", "metadata: {uid: 0b1f, resourceVersion: \"7\", generation: 2, managedFields: [{manager: kubectl, operation: Update}], ", 1) +
		"status: {state: Running, conditions: [{type: Ready, status: \"True\", reason: Running, message: \"\", lastTransitionTime: \"2026-12-01T00:00:00Z\"}]}\n"
	open := strings.Replace(server, "spec: {", "spec: {auth: {mode: none}, ", 1)

	folder := t.TempDir()
	for path, text := range map[string]string{
		"servers/alice.yaml": server, "servers/other.yml": other, "servers/README.md": "alice", "servers/team/bob.json.txt": "x", "servers/team/bob.yml": bob,
		"empty/README.md": "nothing", "others/a.yaml": other, "wrong/a.yaml": server, "wrong/values.yaml": "replicas: 1\n",
	} {
		file := filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(folder+"/servers", folder+"/link"); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/alice.yaml" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, server)
	}))
	defer web.Close()

	tests := []struct {
		reason  string
		args    []string
		stdin   string
		servers []string
		err     string
	}{
		{reason: "a list", args: []string{"-f", "-"}, stdin: listOf(server, other, bob), servers: []string{"alice", "bob"}},
		{reason: "a list in a list", args: []string{"-f", "-"}, stdin: listOf(listOf(bob)), servers: []string{"bob"}},
		{reason: "a list, as the API server stores its items", args: []string{"-f", "-"}, stdin: listOf(stored), servers: []string{"alice"}},
		{reason: "a list without servers", args: []string{"-f", "-"}, stdin: listOf(other), err: "contains no JupyterServer"},
		{reason: "a list with a misspelt field", args: []string{"-f", "-"}, stdin: listOf(server, strings.Replace(bob, "host:", "hots:", 1)), err: "hots"},
		{reason: "lines that end as on Windows, and a byte order mark", args: []string{"-f", "-"}, stdin: "\ufeff" + strings.ReplaceAll(server+"---\n"+bob, "\n", "\r\n"), servers: []string{"alice", "bob"}},
		{reason: "a folder", args: []string{"-f", folder + "/servers"}, servers: []string{"alice"}},
		{reason: "a folder and those below it", args: []string{"-R", "-f", folder + "/servers"}, servers: []string{"alice", "bob"}},
		{reason: "a link to a folder", args: []string{"-f", folder + "/link"}, servers: []string{"alice"}},
		{reason: "a folder without manifests", args: []string{"-f", folder + "/empty"}, err: "contains no file that ends in .json, .yaml or .yml"},
		{reason: "a folder without servers", args: []string{"-f", folder + "/others"}, err: "contains no JupyterServer"},
		{reason: "a folder with a file that is no manifest", args: []string{"-f", folder + "/wrong"}, err: "values.yaml"},
		{reason: "a URL", args: []string{"-f", web.URL + "/alice.yaml"}, servers: []string{"alice"}},
		{reason: "a URL that is not there", args: []string{"-f", web.URL + "/bob.yaml"}, err: "HTTP status 404"},
	}
	for _, test := range tests {
		for _, command := range []string{"check", "render"} {
			t.Run(command+": "+test.reason, func(t *testing.T) {
				out, err := execute(t, test.stdin, append([]string{command}, test.args...)...)
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				for _, name := range []string{"alice", "bob"} {
					want := err == nil && strings.Contains(strings.Join(test.servers, " "), name)
					if got := strings.Contains(out, name); err == nil && got != want {
						t.Errorf("%s is in the output: %t, want %t\n%s", name, got, want, out)
					}
				}
			})
		}
	}
	t.Run("a password or a token in a URL is not printed", func(t *testing.T) {
		address := strings.Replace(web.URL, "http://", "http://user:hunter2@", 1) + "/bob.yaml?private_token=s3cret"
		for _, args := range [][]string{{"check", "-o", "json"}, {"render"}} {
			out, err := execute(t, "", append(args, "-f", address)...)
			if text := fmt.Sprint(out, err); err == nil || strings.Contains(text, "hunter2") || strings.Contains(text, "s3cret") {
				t.Error(text)
			}
		}
	})
	t.Run("each item of a list is judged by itself", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "list.yaml")
		if err := os.WriteFile(file, []byte(listOf(bob, open)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := execute(t, "", "check", "-f", file, "-o", "sarif")
		if err == nil || !strings.Contains(out, "auth-none") || !strings.Contains(out, `"startLine": 12`) {
			t.Errorf("error %v\n%s", err, out)
		}
	})
}
