// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

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

// packing turns records into what Helm keeps in Secrets, and back: JSON, compressed, in base64
// (helm.sh/helm/v3/pkg/storage/driver/util.go). Helm's own driver makes a compressor for every record that it writes, which costs
// more memory than all else that an install does, and panics on some damaged records. Its zero value is ready for use.
type packing struct {
	compressors sync.Pool
}

func (p *packing) pack(record *helmrelease.Release) ([]byte, error) {
	var out bytes.Buffer
	encoded := base64.NewEncoder(base64.StdEncoding, &out)
	compressed, ok := p.compressors.Get().(*gzip.Writer)
	if !ok {
		compressed = gzip.NewWriter(nil)
	}
	defer p.compressors.Put(compressed)
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

// largestRecord is the most bytes of a record that is unpacked. One that the operator wrote is compressed to less than the MiB that a
// Secret may have, and whoever may write Secrets could fill the operator's memory with one that is compressed well.
const largestRecord = 16 << 20

// unpack returns nil for a record that somebody has damaged.
func unpack(packed []byte, limit int64) *helmrelease.Release {
	raw, err := base64.StdEncoding.DecodeString(string(packed))
	if err != nil {
		return nil
	}
	if compressed, err := gzip.NewReader(bytes.NewReader(raw)); err == nil { // Helm did not always compress them
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
