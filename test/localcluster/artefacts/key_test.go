// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"path/filepath"
	"testing"
)

func TestKey(t *testing.T) {
	base := recipe{name: "a", from: []string{"components/a"}, needs: []string{"b"}, terms: "flags"}
	made := map[string]string{"b": "1"}
	files := map[string]string{"components/a/go.mod": "module a", "components/a/ext/ext.go": "package ext"}
	original := keyOf(t, base, files, made)

	other := func(change func(*recipe)) recipe {
		changed := base
		change(&changed)
		return changed
	}
	cases := map[string]struct {
		reason string
		recipe recipe
		files  map[string]string
		made   map[string]string
		same   bool
	}{
		"Nothing": {
			reason: "the same sources have the same key in any folder",
			recipe: base, files: files, made: made, same: true,
		},
		"Unrelated": {
			reason: "files of other components are ignored",
			recipe: base, made: made, same: true,
			files: map[string]string{"components/a/go.mod": "module a", "components/a/ext/ext.go": "package ext", "components/c/go.mod": "x"},
		},
		"Content": {
			reason: "a changed pin changes the key",
			recipe: base, made: made,
			files: map[string]string{"components/a/go.mod": "module a // 2", "components/a/ext/ext.go": "package ext"},
		},
		"Name": {
			reason: "a moved file changes the key",
			recipe: base, made: made,
			files: map[string]string{"components/a/go.mod": "module a", "components/a/ext/two.go": "package ext"},
		},
		"Terms": {
			reason: "other flags change the key",
			recipe: other(func(r *recipe) { r.terms = "other" }), files: files, made: made,
		},
		"Need": {
			reason: "a rebuilt dependency changes the key",
			recipe: base, files: files, made: map[string]string{"b": "2"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := keyOf(t, tc.recipe, tc.files, tc.made); (got == original) != tc.same {
				t.Errorf("%s: got %s, original %s", tc.reason, got, original)
			}
		})
	}
}

func keyOf(t *testing.T, r recipe, files, made map[string]string) string {
	t.Helper()
	source := t.TempDir()
	for file, content := range files {
		write(t, filepath.Join(source, file), content)
	}
	key, err := r.key(source, made)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
