// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import "testing"

func TestSentence(t *testing.T) {
	tests := []struct{ reason, message, want string }{
		{"a message becomes a sentence", "the claim is gone", "The claim is gone."},
		{"one full stop is enough", "It is gone.", "It is gone."},
		{"lines are joined", "it is\n gone", "It is gone."},
		{"a host has no capital", "alice.example.org/x is taken", "alice.example.org/x is taken."},
		{"nor has a field", "spec.suspend must be set", "spec.suspend must be set."},
		{"a letter of more than one byte", "ärger", "Ärger."},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := sentence(test.message); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
