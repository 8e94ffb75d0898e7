// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestResolve(t *testing.T) {
	cases := map[string]struct {
		reason  string
		names   []string
		want    []string
		wantErr bool
	}{
		"Nothing":  {reason: "no names build nothing"},
		"Need":     {reason: "an image is built after its program", names: []string{"coredns-image"}, want: []string{"coredns", "coredns-image"}},
		"Order":    {reason: "order and duplicates of names do not matter", names: []string{"helm", "kubernetes", "helm"}, want: []string{"kubernetes", "helm"}},
		"Unknown":  {reason: "an unknown name builds nothing", names: []string{"helm", "kubernets"}, wantErr: true},
		"Complete": {reason: "all names can be built", names: Names(), want: Names()},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(recipes(), tc.names)
			if (err != nil) != tc.wantErr {
				t.Fatalf("%s: got error %v", tc.reason, err)
			}
			var names []string
			for _, r := range got {
				names = append(names, r.name)
			}
			if !slices.Equal(names, tc.want) {
				t.Errorf("%s: got %v, want %v", tc.reason, names, tc.want)
			}
		})
	}
}

func TestBuild(t *testing.T) {
	store := Store{Dir: t.TempDir(), Source: t.TempDir()}
	works := recipe{
		name: "thing", files: []string{"bin/thing"}, stamp: "1",
		make: func(_ context.Context, j job) error {
			return os.WriteFile(j.output("bin/thing"), []byte("built"), 0o755)
		},
	}
	if err := store.build(context.Background(), works); err != nil {
		t.Fatal(err)
	}
	if !store.fresh(works, "1") || store.fresh(works, "2") {
		t.Error("an artefact is fresh only for the key that it was built with")
	}

	fails := works
	fails.stamp = "2"
	fails.make = func(_ context.Context, j job) error {
		return errors.Join(os.WriteFile(j.output("bin/thing"), []byte("half"), 0o755), errors.New("no"))
	}
	if err := store.build(context.Background(), fails); err == nil {
		t.Error("a failed job must fail the build")
	}
	if got := string(read(t, filepath.Join(store.BinDir(), "thing"))); got != "built" {
		t.Errorf("a failed build must keep the previous file, got %q", got)
	}
	if left, err := os.ReadDir(filepath.Join(store.Dir, "build")); err != nil || len(left) > 0 {
		t.Errorf("a build must leave no workspace, got %v (%v)", left, err)
	}
	if err := os.Remove(filepath.Join(store.BinDir(), "thing")); err != nil {
		t.Fatal(err)
	}
	if store.fresh(works, "1") {
		t.Error("a missing file makes its artefact stale")
	}
}
