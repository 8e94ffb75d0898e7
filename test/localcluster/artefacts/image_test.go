// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestPack(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "program")
	write(t, program, "an executable")
	spec := ImageSpec{
		Ref:        "localhost/thing:1",
		Files:      []ImageFile{{Source: program, Dest: "/usr/bin/thing", Mode: 0o755}},
		Entrypoint: []string{"/usr/bin/thing"},
		User:       "1000",
		Env:        []string{"A=b"},
	}
	first, second := filepath.Join(folder, "1.tar"), filepath.Join(folder, "2.tar")
	pack(t, spec, first)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(program, later, later); err != nil {
		t.Fatal(err)
	}
	pack(t, spec, second)

	if !bytes.Equal(read(t, first), read(t, second)) {
		t.Error("the same files at another time must result in the same bytes")
	}
	left, err := filepath.Glob(filepath.Join(folder, "*.tar.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("only the archives may be left, got %v (%v)", left, err)
	}

	image, err := tarball.ImageFromPath(first, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture == "" {
		t.Errorf("the image must have the platform of the node, got %s/%s", config.OS, config.Architecture)
	}
	if config.Config.User != "1000" || !slices.Equal(config.Config.Entrypoint, spec.Entrypoint) || !slices.Equal(config.Config.Env, spec.Env) {
		t.Errorf("the image differs from the spec: %+v", config.Config)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("want one layer, got %d (%v)", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	want := []string{"usr/", "usr/bin/", "usr/bin/thing"}
	if got := entries(t, content); !slices.Equal(got, want) {
		t.Errorf("parent folders must precede a file: got %v, want %v", got, want)
	}
}

func TestPackRefuses(t *testing.T) {
	cases := map[string]struct {
		reason string
		spec   ImageSpec
	}{
		"Ref":  {reason: "an invalid name", spec: ImageSpec{Ref: "Not A Name"}},
		"File": {reason: "a missing file", spec: ImageSpec{Ref: "localhost/a:1", Files: []ImageFile{{Source: "/does/not/exist", Dest: "/a"}}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			if err := Pack(tc.spec, filepath.Join(folder, "image.tar")); err == nil {
				t.Errorf("%s must be an error", tc.reason)
			}
			left, err := os.ReadDir(folder)
			if err != nil || len(left) > 0 {
				t.Errorf("%s must leave no files, got %v (%v)", tc.reason, left, err)
			}
		})
	}
}

func pack(t *testing.T, spec ImageSpec, output string) {
	t.Helper()
	if err := Pack(spec, output); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func entries(t *testing.T, content io.Reader) []string {
	t.Helper()
	var names []string
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}
