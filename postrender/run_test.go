// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	helm "helm.sh/helm/v3/pkg/postrender"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	goldens "github.com/jupyterserver/jupyter-server-operator/test/golden"
)

var _ helm.PostRenderer = Renderer{}

// golden is a file in testdata: a comment, then sections that begin with a line "-- name --".
type golden struct{ comment, input, patches, output string }

func readGolden(t testing.TB, file string) golden {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	sections := map[string]*string{"input": &g.input, "patches": &g.patches, "output": &g.output}
	section := &g.comment
	for line := range strings.Lines(string(text)) {
		name, isName := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- ")
		if !isName {
			*section += line
			continue
		}
		if section = sections[name]; section == nil {
			t.Fatalf("%s: unknown section %q", file, name)
		}
	}
	return g
}

// stream returns the chart's output: the input and a Patches object with the patches.
func (g golden) stream() string {
	if g.patches == "" {
		return g.input
	}
	return g.input + patchesObject(g.patches)
}

func patchesObject(list string) string {
	var out strings.Builder
	out.WriteString("---\napiVersion: postrender.jupyterserver.dev/v1alpha1\nkind: Patches\nmetadata: {name: alice}\nspec:\n  patches:\n")
	for line := range strings.Lines(list) {
		out.WriteString("    " + line)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			g := readGolden(t, file)
			out, err := Run([]byte(g.stream()))
			if err != nil {
				t.Fatal(err)
			}
			text := g.comment + "-- input --\n" + g.input
			if g.patches != "" {
				text += "-- patches --\n" + g.patches
			}
			goldens.Check(t, file, text+"-- output --\n"+string(out))
			again, err := Run([]byte(g.stream()))
			if err != nil || !bytes.Equal(out, again) {
				t.Errorf("a second run differs: %v\n%s", err, again)
			}
			same, err := Run(out)
			if err != nil || !bytes.Equal(out, same) {
				t.Errorf("the output does not pass unchanged: %v\n%s", err, same)
			}
		})
	}
}

func TestRunWithoutPatchesIsIdentity(t *testing.T) {
	for _, tc := range []struct{ reason, stream string }{
		{"nothing", ""},
		{"only newlines", "\n\n"},
		{"only separators", "---\n---\n"},
		{"no newline at the end", "a: b\n---\nc:   d"},
		{"many newlines at the end", "a: b\n\n\n\n"},
		{"carriage returns", "---\r\n# Source: x\r\na:   b\r\n---\r\nc: d\r\n"},
		{"odd style", "---\n# Source: x\n\n{ a:   'b' }   # c\n--- # d\n\n  x:  1\n"},
		{"a block scalar that looks like a separator", "a: |\n  ---\n  b\n"},
		{"another version of Patches", "apiVersion: postrender.jupyterserver.dev/v2\nkind: Patches\n"},
		{"another group's Patches", "apiVersion: example.org/v1alpha1\nkind: Patches\n"},
		{"a list", "- apiVersion: postrender.jupyterserver.dev/v1alpha1\n  kind: Patches\n"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			out, err := Run([]byte(tc.stream))
			if err != nil || string(out) != tc.stream {
				t.Errorf("Run(%q) = %q, %v", tc.stream, out, err)
			}
		})
	}
}

func TestRunWithEmptyPatchesOnlyRemovesThePatchesObject(t *testing.T) {
	const before, after = "---\na:   b\n", "---\nc:   d"
	for _, empty := range []string{"[]", "null"} {
		object := strings.Replace(patchesObject(""), "patches:\n", "patches: "+empty+"\n", 1)
		out, err := Run([]byte(before + object + after))
		if err != nil || string(out) != before+after {
			t.Errorf("patches: %s: got %q, %v", empty, out, err)
		}
	}
}

const objects = `---
apiVersion: v1
kind: Service
metadata: {name: alice, namespace: team}
spec: {ports: [{port: 80}], selector: {a: b}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: alice, namespace: team}
spec:
  template:
    spec:
      containers: [{name: jupyter, image: i}]
---
apiVersion: example.org/v1
kind: Custom
metadata: {name: alice}
`

const good = "- {target: {kind: Service}, type: merge, patch: 'spec: {type: NodePort}'}\n"

func TestPatchErrors(t *testing.T) {
	merge := func(patch string) string { return entry("Service", "merge", patch) }
	jsonOps := func(patch string) string { return entry("Service", "json", patch) }
	strategic := func(patch string) string { return entry("StatefulSet", "strategic", patch) }
	container := func(fields string) string {
		return strategic("spec: {template: {spec: {containers: [" + fields + "]}}}")
	}
	for _, tc := range []struct {
		reason string
		patch  string
		target v1alpha1.PatchTarget
		want   []string // parts of the text
	}{
		{"no object of the kind", entry("Deployment", "merge", "a: 1"), v1alpha1.PatchTarget{Kind: "Deployment"},
			[]string{"Service alice", "StatefulSet alice", "Custom alice"}},
		{"no object of the name", "- {target: {kind: Service, name: bob}, type: merge, patch: 'a: 1'}\n", v1alpha1.PatchTarget{Kind: "Service", Name: "bob"}, []string{"Service bob", "no such object"}},
		{"the Patches object is not a target", entry("Patches", "merge", "a: 1"), v1alpha1.PatchTarget{Kind: "Patches"}, nil},

		{"no target", "- {patch: 'a: 1'}\n", v1alpha1.PatchTarget{}, []string{"target.kind"}},
		{"an unknown field", "- {target: {kind: Service}, path: x, patch: 'a: 1'}\n", v1alpha1.PatchTarget{Kind: "Service"}, []string{"path"}},
		{"a field in another case", "- {target: {Kind: Service}, patch: 'a: 1'}\n", v1alpha1.PatchTarget{}, []string{"Kind"}},
		{"a patch that is not a string", "- {target: {kind: Service}, patch: {a: 1}}\n", v1alpha1.PatchTarget{Kind: "Service"}, []string{"string"}},
		{"an entry that is not an object", "- text\n", v1alpha1.PatchTarget{}, nil},
		{"an unknown type", entry("Service", "jsn", "a: 1"), v1alpha1.PatchTarget{Kind: "Service"}, []string{`"jsn"`, "json, merge or strategic"}},

		{"not YAML", merge("a: [1"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"yaml: "}},
		{"no patch", "- {target: {kind: Service}, type: merge}\n", v1alpha1.PatchTarget{Kind: "Service"}, []string{"empty"}},
		{"an empty patch", merge(""), v1alpha1.PatchTarget{Kind: "Service"}, []string{"empty"}},
		{"a comment only", merge("# a"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"empty"}},
		{"an empty object", merge("{}"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"empty"}},
		{"an empty list", jsonOps("[]"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"empty"}},
		{"two documents", merge("a: 1\n---\nb: 2"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"more than one"}},
		{"equal keys", merge("a: 1\nb: 2\na: 3"), v1alpha1.PatchTarget{Kind: "Service"}, []string{`"a"`, "line 3"}},
		{"equal keys in JSON", merge(`{"a": 1, "a": 2}`), v1alpha1.PatchTarget{Kind: "Service"}, []string{`"a"`}},
		{"a string as a merge patch", merge("text"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"an object"}},
		{"a list as a merge patch", merge("[1]"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"an object"}},
		{"an object as a json patch", jsonOps("a: 1"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"a list of operations"}},
		{"an alias without its anchor", merge("a: *b"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"yaml: "}},
		{"an alias of itself", merge("a: &a [*a]"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"alias"}},
		{"aliases of aliases", merge(billionLaughs()), v1alpha1.PatchTarget{Kind: "Service"}, []string{"alias"}},
		{"many aliases of a long text", merge("a: &a " + strings.Repeat("x", 30000) + "\nb: [" + strings.Repeat("*a,", 8000) + "]"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"alias"}},
		{"deep nesting", merge("a: " + strings.Repeat("[", 20000)), v1alpha1.PatchTarget{Kind: "Service"}, []string{"depth"}},

		{"a test that fails", jsonOps("[{op: test, path: /spec/ports/0/port, value: 81}]"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"/spec/ports/0/port", "test"}},
		{"a path that does not exist", jsonOps("[{op: replace, path: /spec/a/b, value: 1}]"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"/spec/a/b", "missing"}},
		{"an index past the end", jsonOps("[{op: add, path: /spec/ports/5, value: 1}]"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"/spec/ports/5"}},
		{"an unknown operation", jsonOps("[{op: ad, path: /a, value: 1}]"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"operation"}},
		{"an operation without value", jsonOps("[{op: add, path: /a}]"), v1alpha1.PatchTarget{Kind: "Service"}, []string{"value"}},
		{"an operation that is not an object", jsonOps("[text]"), v1alpha1.PatchTarget{Kind: "Service"}, nil},
		{"copies that double", jsonOps("- {op: add, path: /a, value: [xxxxxxxxxxxxxxxx]}\n" + strings.Repeat("- {op: copy, from: /a, path: /a/0}\n", 40)), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"copy"}},

		{"patches that add too much", jsonOps("- {op: add, path: /a, value: " + strings.Repeat("x", 60000) + "}\n- {op: copy, from: /a, path: /b}\n- {op: copy, from: /a, path: /c}\n"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"128 KiB"}},
		{"a strategic patch of long lists", container("{name: jupyter, args: [" + strings.Repeat("a,", 1000) + "]}"), v1alpha1.PatchTarget{Kind: "StatefulSet", Name: "alice"}, []string{"1000", "merge or json"}},

		{"a strategic patch of a custom resource", entry("Custom", "strategic", "spec: {a: 1}"), v1alpha1.PatchTarget{Kind: "Custom", Name: "alice"}, []string{"example.org/v1 Custom", "merge or json"}},
		{"an entry without its merge key", container("{image: x}"), v1alpha1.PatchTarget{Kind: "StatefulSet", Name: "alice"}, []string{"merge key", "name"}},
		{"an unknown directive", container("{name: jupyter, $patch: drop}"), v1alpha1.PatchTarget{Kind: "StatefulSet", Name: "alice"}, []string{"patch type"}},
		{"a string instead of a list", container("text"), v1alpha1.PatchTarget{Kind: "StatefulSet", Name: "alice"}, nil},

		{"deleting the object", strategic("$patch: delete"), v1alpha1.PatchTarget{Kind: "StatefulSet", Name: "alice"}, []string{"remove"}},
		{"replacing the object by an empty one", strategic("$patch: replace"), v1alpha1.PatchTarget{Kind: "StatefulSet", Name: "alice"}, []string{"remove"}},
		{"replacing the object by null", jsonOps("[{op: replace, path: '', value: null}]"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"remove"}},
		{"replacing the object by a list", jsonOps("[{op: replace, path: '', value: [1]}]"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"remove"}},
		{"another apiVersion", merge("apiVersion: v2"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change apiVersion"}},
		{"another kind", merge("kind: Role"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change kind"}},
		{"another kind behind one in another case", jsonOps("- {op: replace, path: /kind, value: Role}\n- {op: add, path: /Kind, value: Service}"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change kind"}},
		{"no kind", merge("kind: null"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change kind"}},
		{"another name", merge("metadata: {name: bob}"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change metadata.name"}},
		{"no name", merge("metadata: {name: null}"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change metadata.name"}},
		{"another namespace", merge("metadata: {namespace: kube-system}"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change metadata.namespace"}},
		{"a namespace where there was none", entry("Custom", "merge", "metadata: {namespace: kube-system}"), v1alpha1.PatchTarget{Kind: "Custom", Name: "alice"}, []string{"may not change metadata.namespace"}},
		{"a string as metadata", merge("metadata: text"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"metadata"}},
		{"another name, and back", merge("metadata: {name: bob}") + merge("metadata: {name: alice}"), v1alpha1.PatchTarget{Kind: "Service", Name: "alice"}, []string{"may not change metadata.name"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			out, err := Run([]byte(objects + patchesObject(good+good+tc.patch)))
			if out != nil {
				t.Errorf("output with an error: %q", out)
			}
			var patchError *PatchError
			if !errors.As(err, &patchError) {
				t.Fatalf("not a PatchError: %v", err)
			}
			if patchError.Index != 2 || patchError.Target != tc.target {
				t.Errorf("blames %d %v: %v", patchError.Index, patchError.Target, err)
			}
			text := err.Error()
			if !strings.HasPrefix(text, "spec.patches[2]") || strings.Contains(text, "\n") || len(text) > 300 {
				t.Errorf("not one line for a user: %q", text)
			}
			for _, part := range tc.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q does not contain %q", text, part)
				}
			}
			t.Log(text)
		})
	}
}

// TestPatchErrorsQuoteNoValues: errors end up in a status and in events, and values may be secrets.
func TestPatchErrorsQuoteNoValues(t *testing.T) {
	for _, patch := range []string{
		entry("StatefulSet", "strategic", "spec: {template: {spec: {containers: [{image: hunter2}]}}}"),
		entry("StatefulSet", "strategic", "spec: {template: {spec: {containers: [{name: jupyter, $patch: drop, image: hunter2}]}}}"),
		entry("StatefulSet", "strategic", "spec: {template: {spec: {containers: [{name: a, image: hunter2}, 1]}}}"),
		entry("Service", "json", "[{op: ad, path: /a, value: hunter2}]"),
		entry("Service", "json", "[{op: add, value: hunter2}]"),
		entry("Service", "json", "[{op: test, path: /spec/type, value: hunter2}]"),
		entry("Service", "json", "[hunter2]"),
		entry("Service", "merge", "a: hunter2\na: hunter2"),
		entry("Service", "merge", "a: hunter2: hunter2"),
		entry("Service", "merge", "metadata: hunter2"),
		entry("Service", "merge", "metadata: [hunter2]"),
	} {
		_, err := Run([]byte(objects + patchesObject(patch)))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", patch, err)
		}
	}
}

func TestStreamErrors(t *testing.T) {
	for _, tc := range []struct{ reason, stream, want string }{
		{"not YAML", "a: 1\n---\n# Source: x\n\nb: [1\n", "document 2 of the manifest: yaml: line"},
		{"a tab", "---\na: 1\n---\n\tb: 1\n", "document 2 of the manifest: yaml: "},
		{"a second document after an end marker", "a: 1\n...\nb: 2\n", "document 1 of the manifest: yaml: line"},
		{"a bomb", "---\n" + billionLaughs(), "document 1 of the manifest: YAML aliases"},
		{"two Patches objects", objects + patchesObject(good) + patchesObject(good), "documents 4 and 5 of the manifest"},
		{"an unknown field", strings.Replace(patchesObject(good), "spec:", "spec:\n  x: 1", 1), `document 1 of the manifest, a Patches object: unknown field "spec.x"`},
		{"patches that are not a list", strings.Replace(patchesObject(""), "patches:\n", "patches: text\n", 1), "document 1 of the manifest, a Patches object: "},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			out, err := Run([]byte(tc.stream))
			if out != nil || err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %q, %v", out, err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

func TestRenderer(t *testing.T) {
	in := objects + patchesObject(good)
	want, err := Run([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	out, err := Renderer{}.Run(bytes.NewBufferString(in))
	if err != nil || out.String() != string(want) {
		t.Errorf("got %v, %v", out, err)
	}
	if out, err := (Renderer{}).Run(bytes.NewBufferString("a: [1")); err == nil || out != nil {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestDigest(t *testing.T) {
	if len(Digest()) != 64 || Digest() != Digest() {
		t.Errorf("not a digest: %q", Digest())
	}
}

// entry returns a patch of all objects of a kind.
func entry(kind, patchType, patch string) string {
	return fmt.Sprintf("- {target: {kind: %s}, type: %s, patch: %q}\n", kind, patchType, patch)
}

// billionLaughs returns YAML whose aliases expand to 10^9 strings.
func billionLaughs() string {
	text := "a0: &a0 [" + strings.Repeat("x,", 10) + "]\n"
	for i := range 8 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 10))
	}
	return text
}

func BenchmarkRun(b *testing.B) {
	g := readGolden(b, "testdata/server.txt")
	for name, stream := range map[string]string{"patches": g.stream(), "none": g.input} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Run([]byte(stream)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
