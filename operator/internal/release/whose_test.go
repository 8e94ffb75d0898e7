// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

func TestWhoseIs(t *testing.T) {
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "alice", UID: "1"}}
	ours, earlier, other := OwnerReference(server), OwnerReference(server), OwnerReference(server)
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
		want   Whose
	}{
		{"no owner", nil, Nobodys},
		{"this server", []metav1.OwnerReference{ours}, Ours},
		{"this server, beside another", []metav1.OwnerReference{other, ours}, Ours},
		{"an earlier server of the name", []metav1.OwnerReference{earlier}, Namesakes},
		{"an earlier server, by an earlier version of the API", []metav1.OwnerReference{older}, Namesakes},
		{"another server", []metav1.OwnerReference{other}, Somebodys},
		{"what another project calls a JupyterServer", []metav1.OwnerReference{foreign}, Somebodys},
		{"a version that is none", []metav1.OwnerReference{nonsense}, Somebodys},
	}
	for _, test := range tests {
		if got := WhoseIs(server, test.owners); got != test.want {
			t.Errorf("%s: got %s, want %s", test.reason, got, test.want)
		}
	}
}
