// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMirror(t *testing.T) {
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   string
	}{
		"None": {
			reason: "without a mirror, Debian's own is used",
			want:   defaultMirror,
		},
		"OneLine": {
			reason: "options are between the type and the URI",
			files:  map[string]string{"sources.list": "# deb http://old.example/debian x main\ndeb [signed-by=/k.gpg] http://one.example/debian/ bookworm main\n"},
			want:   "http://one.example/debian",
		},
		"Deb822": {
			reason: "deb822 style has URIs in a field, and security is not the main archive",
			files: map[string]string{"sources.list.d/debian.sources": "Types: deb\nURIs: http://two.example/debian-security\n\n" +
				"Types: deb\n# URIs: http://old.example/debian\nURIs: http://two.example/mirror/debian\n"},
			want: "http://two.example/mirror/debian",
		},
		"OthersOnly": {
			reason: "sources of other programs are not Debian mirrors",
			files: map[string]string{
				"sources.list.d/a.list":    "deb https://packages.example/apt stable main\n",
				"sources.list.d/b.sources": "Types: deb\nURIs: https://deb.example/node_20.x\n",
			},
			want: defaultMirror,
		},
		"ListFirst": {
			reason: "sources.list takes precedence over sources.list.d",
			files: map[string]string{
				"sources.list":                  "deb http://one.example/debian bookworm main\n",
				"sources.list.d/debian.sources": "URIs: http://two.example/debian\n",
			},
			want: "http://one.example/debian",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			for file, content := range tc.files {
				write(t, filepath.Join(folder, file), content)
			}
			got, err := mirror(folder)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
