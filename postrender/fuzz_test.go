// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"bytes"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// FuzzRun checks that Run never panics, that its output is a stream of as many documents, that the output is the input without
// an object of ourAPIVersion and has the access control with an AccessProxy object, and that patched objects have the patched value.
func FuzzRun(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		g := readGolden(f, file)
		f.Add(g.stream(), "Service", "spec: {ports: [{port: 80, name: x}]}", uint8(2))
		f.Add(objects, "StatefulSet", g.patches, uint8(0))
	}
	f.Add(objects, "StatefulSet", "spec: {template: {spec: {$patch: replace, containers: [{name: a}], volumes: null}}}", uint8(2))
	f.Add(objects, "Service", `[{"op": "move", "from": "/spec/ports/0", "path": "/spec/-"}]`, uint8(0))
	f.Add(objects, "Service", "a: &a [b, !!str 1, ? c]\nd: *a", uint8(1))
	f.Fuzz(func(t *testing.T, manifests, kind, patch string, patchType uint8) {
		out, err := Run([]byte(manifests))
		if err != nil {
			return
		}
		documents, err := parse([]byte(manifests))
		if err != nil {
			t.Fatal(err)
		}
		protected, err := protect(documents)
		if err != nil {
			t.Fatal(err)
		}
		isProtected := len(protected) > 0 && slices.ContainsFunc(documents, func(d *document) bool {
			return d.apiVersion() == ourAPIVersion && d.kind() == accessProxyKind
		})
		patches, others, err := takePatches(protected)
		if err != nil {
			t.Fatal(err)
		}
		if !isProtected && len(others) == len(documents) && !bytes.Equal(out, []byte(manifests)) {
			t.Fatalf("no AccessProxy or Patches object, but the output differs:\n%q", out)
		}
		if isProtected && !bytes.Contains(out, []byte("access-authorization")) {
			t.Fatalf("an AccessProxy object, but no access control:\n%q", out)
		}
		checkStream(t, out, others)

		// The same stream with one more patch.
		types := []v1alpha1.PatchType{v1alpha1.PatchTypeJSON, v1alpha1.PatchTypeMerge, v1alpha1.PatchTypeStrategic}
		patches = append(patches, v1alpha1.Patch{Target: v1alpha1.PatchTarget{Kind: kind}, Type: types[int(patchType)%3], Patch: patch})
		object, err := yaml.Marshal(map[string]any{"apiVersion": ourAPIVersion, "kind": patchesKind, "spec": map[string]any{"patches": patchList(patches)}})
		if err != nil {
			return
		}
		documents, err = parse(append([]byte("---\n"), object...))
		if err != nil {
			return // YAML cannot represent the string
		}
		documents, err = applyPatches(append(others, documents...))
		if err != nil {
			return
		}
		out, err = join(documents)
		if err != nil {
			t.Fatal(err)
		}
		checkStream(t, out, documents)
	})
}

func patchList(patches []v1alpha1.Patch) []any {
	var list []any
	for _, p := range patches {
		list = append(list, map[string]any{"target": map[string]any{"kind": p.Target.Kind, "name": p.Target.Name}, "type": string(p.Type), "patch": p.Patch})
	}
	return list
}

// checkStream parses an output and compares the patched objects with the expected ones.
func checkStream(t *testing.T, out []byte, want []*document) {
	t.Helper()
	got, err := parse(out)
	if err != nil {
		t.Fatalf("the output does not parse: %v\n%q", err, out)
	}
	if len(got) != len(want) {
		t.Fatalf("%d documents instead of %d:\n%q", len(got), len(want), out)
	}
	for i, d := range want {
		if d.after == nil {
			continue
		}
		object, err := toJSON(got[i].body())
		if err != nil {
			t.Fatalf("%v:\n%q", err, out)
		}
		actual, err := unmarshal(object)
		if err != nil {
			t.Fatal(err)
		}
		expected, err := unmarshal(d.after)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(actual, expected) {
			t.Fatalf("got %s\nwant %s\nin %q", object, d.after, out)
		}
	}
}
