// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
)

// loadChart reads a chart from a file system and computes its digest, over names and contents in the order of the names.
func loadChart(files fs.FS) (*helmchart.Chart, string, error) {
	var buffered []*loader.BufferedFile
	digest := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(digest, "%s %d\n", path, len(data))
		digest.Write(data)
		buffered = append(buffered, &loader.BufferedFile{Name: path, Data: data})
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("reading the chart: %w", err)
	}
	chart, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, "", fmt.Errorf("loading the chart: %w", err)
	}
	return chart, hex.EncodeToString(digest.Sum(nil)), nil
}
