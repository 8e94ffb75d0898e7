// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// component is a Go module below components/ that pins third-party programs.
type component struct {
	name      string
	programs  []program
	tags      string
	variables map[string]string // set by the linker
	prepare   func(ctx context.Context, folder string) error
}

// program is a command and its package.
type program struct {
	name, pkg string
}

func (c component) recipe() recipe {
	r := recipe{
		name:  c.name,
		from:  []string{filepath.Join("components", c.name)},
		terms: terms(c.programs, c.tags, c.variables),
		make:  c.build,
	}
	for _, p := range c.programs {
		r.files = append(r.files, filepath.Join(binFolder, p.name))
	}
	return r
}

func (c component) build(ctx context.Context, j job) error {
	folder := j.component(c.name)
	if c.prepare != nil {
		// A component with generated files is built in a copy, so that the source stays clean.
		copied := j.output("module")
		if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
			return fmt.Errorf("copy the module: %w", err)
		}
		if err := c.prepare(ctx, copied); err != nil {
			return err
		}
		folder = copied
	}
	for _, p := range c.programs {
		if err := p.build(ctx, folder, j.output(filepath.Join(binFolder, p.name)), c.tags, c.variables); err != nil {
			return err
		}
	}
	return nil
}

// build builds a static program without symbols.
func (p program) build(ctx context.Context, folder, output, tags string, variables map[string]string) error {
	link := []string{"-s -w"}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		link = append(link, fmt.Sprintf("-X %s=%s", name, variables[name]))
	}
	c := command{
		folder: folder,
		// The build must not depend on a workspace or flags of the user.
		environment: []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="},
		name:        "go",
		arguments:   []string{"build", "-trimpath", "-tags", tags, "-ldflags", strings.Join(link, " "), "-o", output, p.pkg},
	}
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	return nil
}
