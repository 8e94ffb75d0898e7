// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
)

// Traefik obtains certificates with lego, which supports more than a hundred DNS providers, each with its own library.
// A local cluster needs none, and without them traefik builds in minutes from modules that every Go proxy has.

const (
	legoModule  = "github.com/go-acme/lego/v5"
	legoVersion = "v5.2.2"
	// legoProviders is the generated file that references all DNS providers.
	legoProviders = "providers/dns/zz_gen_dns_providers.go"
)

// placeLego copies lego without its DNS providers next to a component's go.mod, which replaces lego with it.
func placeLego(ctx context.Context, folder string) error {
	original, err := downloadModule(ctx, folder, legoModule+"@"+legoVersion)
	if err != nil {
		return err
	}
	copied := filepath.Join(folder, "lego")
	if err := os.CopyFS(copied, os.DirFS(original)); err != nil {
		return fmt.Errorf("copy lego: %w", err)
	}
	file := filepath.Join(copied, filepath.FromSlash(legoProviders))
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	cut, err := cutToDefault(source)
	if err != nil {
		return fmt.Errorf("cut lego's %s: %w", legoProviders, err)
	}
	return os.WriteFile(file, cut, 0o644)
}

// downloadModule downloads a module and returns its folder in Go's module cache.
func downloadModule(ctx context.Context, folder, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	output, err := cmd.Output()
	var found struct{ Dir, Error string }
	if json.Unmarshal(output, &found) == nil && found.Error != "" {
		return "", fmt.Errorf("download %s: %s", module, found.Error)
	}
	if err != nil {
		return "", fmt.Errorf("download %s: %w", module, err)
	}
	return found.Dir, nil
}

// cutToDefault removes all but the default cases of the switches in a Go file, and the imports that are then unused.
func cutToDefault(source []byte) ([]byte, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	switches := 0
	ast.Inspect(file, func(node ast.Node) bool {
		if s, ok := node.(*ast.SwitchStmt); ok {
			s.Body.List = defaultCases(s.Body.List)
			switches++
		}
		return true
	})
	if switches == 0 {
		return nil, errors.New("no switch found")
	}
	removeUnusedImports(file)

	var cut bytes.Buffer
	if err := format.Node(&cut, files, file); err != nil {
		return nil, err
	}
	return cut.Bytes(), nil
}

func defaultCases(cases []ast.Stmt) []ast.Stmt {
	var kept []ast.Stmt
	for _, c := range cases {
		if clause, ok := c.(*ast.CaseClause); ok && clause.List == nil {
			kept = append(kept, c)
		}
	}
	return kept
}

// removeUnusedImports takes the last element of an import's path as the package's name, which is right for all files
// that lego generates, unless the import is named.
func removeUnusedImports(file *ast.File) {
	used := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if name, ok := selector.X.(*ast.Ident); ok {
			used[name.Name] = true
		}
		return true
	})
	for _, declaration := range file.Decls {
		imports, ok := declaration.(*ast.GenDecl)
		if !ok || imports.Tok != token.IMPORT {
			continue
		}
		var kept []ast.Spec
		for _, spec := range imports.Specs {
			if imported, ok := spec.(*ast.ImportSpec); ok && used[importName(imported)] {
				kept = append(kept, spec)
			}
		}
		imports.Specs = kept
	}
}

func importName(spec *ast.ImportSpec) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	importPath, _ := strconv.Unquote(spec.Path.Value)
	return path.Base(importPath)
}
