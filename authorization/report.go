// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const maxReport = 64 << 10

// writeReport writes a finding for `serve`, atomically.
func writeReport(path string, f finding) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".report-")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // fails after the rename
	_, err = temporary.Write(append(raw, '\n'))
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// readReport returns the finding of `check`. Without a report there is no problem.
func readReport(path string) (finding, error) {
	raw, err := readFile(path, maxReport)
	if errors.Is(err, fs.ErrNotExist) {
		return finding{OK: true}, nil
	}
	if err != nil {
		return finding{OK: true}, err
	}
	var f finding
	if err := json.Unmarshal(raw, &f); err != nil {
		return finding{OK: true}, fmt.Errorf("%s: %w", path, describeJSONError(err))
	}
	return f, nil
}
