// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// key is a digest of all inputs of an artefact: equal keys mean equal artefacts. The keys of its dependencies are
// taken from made.
func (r recipe) key(source string, made map[string]string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s/%s\n%s\n", r.name, runtime.GOOS, runtime.GOARCH, r.terms)
	for _, need := range r.needs {
		fmt.Fprintf(sum, "%s %s\n", need, made[need])
	}
	for _, from := range r.from {
		if err := addTree(sum, source, from); err != nil {
			return "", fmt.Errorf("read the inputs: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// addTree adds the names and contents of all files below a folder, sorted by name.
func addTree(sum io.Writer, source, folder string) error {
	return filepath.WalkDir(filepath.Join(source, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n%s\n", filepath.ToSlash(name), len(content), content)
		return nil
	})
}

// terms encodes further inputs of an artefact for its key.
func terms(values ...any) string {
	return fmt.Sprintf("%+v", values)
}
