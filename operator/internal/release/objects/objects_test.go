// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOwnership(t *testing.T) {
	ref := Ref{Namespace: "lab", Name: "alice", UID: "1"}
	ours, earlier, other := ref.Owner(), ref.Owner(), ref.Owner()
	earlier.UID = "0"
	other.UID, other.Name = "2", "bob"
	older := earlier
	older.APIVersion = "jupyterserver.dev/v1alpha0"
	foreign := earlier
	foreign.APIVersion = "hub.example.org/v1"
	nonsense := earlier
	nonsense.APIVersion = "a/b/c"
	tests := []struct {
		reason string
		owners []metav1.OwnerReference
		want   Ownership
	}{
		{"no owner", nil, Orphan},
		{"this server", []metav1.OwnerReference{ours}, Own},
		{"this server, beside another", []metav1.OwnerReference{other, ours}, Own},
		{"a deleted server of the name", []metav1.OwnerReference{earlier}, Predecessors},
		{"a deleted server, by another version of the API", []metav1.OwnerReference{older}, Predecessors},
		{"another server", []metav1.OwnerReference{other}, Foreign},
		{"a JupyterServer of another API group", []metav1.OwnerReference{foreign}, Foreign},
		{"a malformed version", []metav1.OwnerReference{nonsense}, Foreign},
	}
	for _, test := range tests {
		if got := ref.Ownership(test.owners); got != test.want {
			t.Errorf("%s: got %s, want %s", test.reason, got, test.want)
		}
	}
}
