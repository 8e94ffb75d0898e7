// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
)

// That Helm reads them is shown where Helm runs (operator/internal/controller, test/e2e).
func TestCodec(t *testing.T) {
	var c codec
	for _, name := range []string{"alice", "bob"} { // the second time with the compressor of the first
		encoded, err := c.encode(helmrelease.Mock(&helmrelease.MockReleaseOptions{Name: name}))
		if err != nil {
			t.Fatal(err)
		}
		if got := decode(encoded, largestRecord); got == nil || got.Name != name || got.Manifest != helmrelease.MockManifest {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestDecodeDamagedRecords(t *testing.T) {
	zipped := func(text string) string {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return base64.StdEncoding.EncodeToString(out.Bytes())
	}
	const record = `{"name": "alice", "info": {}}`
	padded := func(size int) string { return record + strings.Repeat(" ", size-len(record)) }
	tests := []struct {
		reason string
		packed string
		want   bool
	}{
		{"a record as large as the limit", zipped(padded(1000)), true},
		{"one byte more", zipped(padded(1001)), false},
		{"what is not compressed is no larger than the Secret", base64.StdEncoding.EncodeToString([]byte(record)), true},
		{"what breaks off is damaged", zipped(padded(1000))[:24], false},
		{"no base64", "%", false},
		{"no JSON", zipped("alice"), false},
		{"nothing to read the status from", zipped(`{"name": "alice"}`), false},
		{"nothing at all", "", false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := decode([]byte(test.packed), 1000) != nil; got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
