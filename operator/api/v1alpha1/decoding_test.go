// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"testing"
)

func TestDecodingASpec(t *testing.T) {
	const broken = `"pod": {"containers": [{"name": "x", "resources": {"limits": {"memory": "1e1.5"}}}]}`
	tests := []struct {
		reason, spec              string
		readable, suspend, retain bool
	}{
		{"a readable spec", `{"suspend": true, "storage": {"retain": true}}`, true, true, true},
		{"an unreadable spec", `{` + broken + `}`, false, false, false},
		{"an unreadable spec still suspends and retains", `{"suspend": true, "storage": {"retain": true, "size": "1Gi"}, ` + broken + `}`, false, true, true},
		{"an unreadable spec with an unreadable suspend", `{"suspend": 1, "storage": {"retain": true}}`, false, false, false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var spec JupyterServerSpec
			if err := json.Unmarshal([]byte(test.spec), &spec); err != nil {
				t.Fatal(err)
			}
			if err := spec.Unreadable(); (err == nil) != test.readable {
				t.Errorf("readable: %v", err)
			}
			if spec.Suspend != test.suspend || spec.Storage.Retain != test.retain {
				t.Errorf("suspend %t, retain %t", spec.Suspend, spec.Storage.Retain)
			}
		})
	}
}
