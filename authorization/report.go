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

// writeReport leaves a finding for `serve`, whole or not at all.
func writeReport(path string, f finding) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".report-")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // it is not there any more when all went well
	_, err = temporary.Write(append(raw, '\n'))
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// readReport returns what `check` found: that all is well, if there is no report.
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
		return finding{OK: true}, fmt.Errorf("%s: %w", path, plain(err))
	}
	return f, nil
}
