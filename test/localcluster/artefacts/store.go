// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artefacts builds the parts of a local cluster: programs from pinned Go modules, and container images from
// those programs and from Debian packages. Everything is built once into a cache folder and rebuilt only if an input
// changed. Nothing here starts a process of the cluster.
//
// store.go manages the artefacts; recipe.go describes how each is built, with program.go, image.go and rootfs.go;
// lego.go reduces a dependency; debian.go uses apt.
package artefacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Store is the cache folder of artefacts.
type Store struct {
	// Dir is the folder (default: jupyter-server-operator in the user's cache folder).
	Dir string
	// Source is the folder of the module test/localcluster, which pins the versions (default: the working directory).
	Source string
	// Progress receives progress lines (default: discarded).
	Progress io.Writer
}

// BinDir returns the folder of the programs.
func (s Store) BinDir() string {
	return filepath.Join(s.dir(), binFolder)
}

// Image returns the archive of an image: pause, coredns, traefik, jupyterlab or mod-auth-openidc.
func (s Store) Image(name string) string {
	return filepath.Join(s.dir(), imageFile(name))
}

// Names lists all artefacts that Ensure can build, in build order.
func Names() []string {
	var names []string
	for _, r := range recipes() {
		names = append(names, r.name)
	}
	return names
}

// Ensure builds missing or stale artefacts of the given names and their dependencies. It takes milliseconds if there
// is nothing to build.
func (s Store) Ensure(ctx context.Context, names ...string) error {
	wanted, err := resolve(recipes(), names)
	if err != nil {
		return err
	}
	stale, err := s.stale(wanted)
	if err != nil || len(stale) == 0 {
		return err
	}
	unlock, err := lock(filepath.Join(s.dir(), "lock"))
	if err != nil {
		return err
	}
	defer unlock()

	// Another process may have built them while this one waited for the lock.
	stale, err = s.stale(wanted)
	if err != nil {
		return err
	}
	report := report{out: s.progress()}
	for _, r := range stale {
		err := report.step(r.name, func() error { return s.build(ctx, r) })
		if err != nil {
			return err
		}
	}
	report.table()
	return nil
}

// resolve returns the named recipes and their dependencies in build order.
func resolve(all []recipe, names []string) ([]recipe, error) {
	known := map[string]recipe{}
	for _, r := range all {
		known[r.name] = r
	}
	wanted := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		r, ok := known[name]
		if !ok {
			return fmt.Errorf("unknown artefact %q; available: %s", name, strings.Join(Names(), ", "))
		}
		wanted[name] = true
		for _, need := range r.needs {
			if err := add(need); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	var ordered []recipe
	for _, r := range all {
		if wanted[r.name] {
			ordered = append(ordered, r)
		}
	}
	return ordered, nil
}

// stale returns the recipes whose files are missing or were built from other inputs.
func (s Store) stale(wanted []recipe) ([]recipe, error) {
	keys := map[string]string{}
	var stale []recipe
	for _, r := range wanted {
		key, err := r.key(s.Source, keys)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		keys[r.name] = key
		if s.fresh(r, key) {
			continue
		}
		r.stamp = key
		stale = append(stale, r)
	}
	return stale, nil
}

func (s Store) fresh(r recipe, key string) bool {
	recorded, err := os.ReadFile(s.stampFile(r))
	if err != nil || string(recorded) != key {
		return false
	}
	for _, file := range r.files {
		if _, err := os.Stat(filepath.Join(s.dir(), file)); err != nil {
			return false
		}
	}
	return true
}

// build builds an artefact in a separate folder and moves it into place, so that a killed run leaves no partial files.
// For the same reason the stamp is removed first and written last.
func (s Store) build(ctx context.Context, r recipe) error {
	workspace := filepath.Join(s.dir(), "build", r.name)
	if err := os.RemoveAll(workspace); err != nil {
		return err
	}
	defer os.RemoveAll(workspace)
	for _, file := range append([]string{filepath.Base(workspace)}, r.files...) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(workspace, file)), 0o755); err != nil {
			return err
		}
	}
	if err := r.make(ctx, job{workspace: workspace, store: s.dir(), source: s.Source}); err != nil {
		return err
	}
	if err := os.Remove(s.stampFile(r)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, file := range r.files {
		if err := moveInto(filepath.Join(workspace, file), filepath.Join(s.dir(), file)); err != nil {
			return err
		}
	}
	return s.record(r)
}

func (s Store) record(r recipe) error {
	stamp := s.stampFile(r)
	if err := os.MkdirAll(filepath.Dir(stamp), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(stamp+".new", []byte(r.stamp), 0o644); err != nil {
		return err
	}
	return os.Rename(stamp+".new", stamp)
}

func moveInto(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (s Store) stampFile(r recipe) string {
	return filepath.Join(s.dir(), "stamps", r.name)
}

func (s Store) dir() string {
	if s.Dir != "" {
		return s.Dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		// A process without a home folder, such as a service, uses the temporary folder.
		cache = os.TempDir()
	}
	return filepath.Join(cache, "jupyter-server-operator")
}

func (s Store) progress() io.Writer {
	if s.Progress == nil {
		return io.Discard
	}
	return s.Progress
}
