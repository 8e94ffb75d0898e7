// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	helmrelease "helm.sh/helm/v3/pkg/release"
)

// codec encodes records as Helm keeps them in Secrets: JSON, compressed, in base64
// (helm.sh/helm/v3/pkg/storage/driver/util.go). Helm's own driver creates a compressor for every record that it writes, which
// costs more memory than the rest of an install, and panics on some damaged records. The zero value is ready for use.
type codec struct {
	compressors sync.Pool
}

func (c *codec) encode(record *helmrelease.Release) ([]byte, error) {
	var out bytes.Buffer
	encoded := base64.NewEncoder(base64.StdEncoding, &out)
	compressed, ok := c.compressors.Get().(*gzip.Writer)
	if !ok {
		compressed = gzip.NewWriter(nil)
	}
	defer c.compressors.Put(compressed)
	compressed.Reset(encoded)
	if err := json.NewEncoder(compressed).Encode(record); err != nil {
		return nil, fmt.Errorf("encoding the release record: %w", err)
	}
	if err := compressed.Close(); err != nil {
		return nil, fmt.Errorf("compressing the release record: %w", err)
	}
	if err := encoded.Close(); err != nil {
		return nil, fmt.Errorf("encoding the release record: %w", err)
	}
	return out.Bytes(), nil
}

// largestRecord is the most bytes of a decoded record. A Secret holds at most 1 MiB, but a record that compresses well could
// fill the operator's memory.
const largestRecord = 16 << 20

// decode returns nil for a damaged record.
func decode(encoded []byte, limit int64) *helmrelease.Release {
	raw, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil {
		return nil
	}
	if compressed, err := gzip.NewReader(bytes.NewReader(raw)); err == nil { // early versions of Helm did not compress them
		raw, err = io.ReadAll(io.LimitReader(compressed, limit+1))
		if err != nil || int64(len(raw)) > limit {
			return nil
		}
	}
	record := &helmrelease.Release{}
	if err := json.Unmarshal(raw, record); err != nil || record.Info == nil {
		return nil
	}
	return record
}
