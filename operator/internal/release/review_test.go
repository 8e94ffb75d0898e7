// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

func TestHelmIsAtWork(t *testing.T) {
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Name: "alice", UID: "1"}}
	ours := []metav1.OwnerReference{OwnerReference(server)}
	tests := []struct {
		reason          string
		version, status string
		owners          []metav1.OwnerReference
		want            bool
	}{
		{"helm rollback writes the next record first", "3", "pending-rollback", nil, true},
		{"helm uninstall marks the newest record, and drops its owner", "2", "uninstalling", nil, true},
		{"an operator that was killed left its record", "3", "pending-upgrade", ours, false},
		{"what is deployed is finished", "3", "deployed", nil, false},
		{"an older record is history", "1", "pending-install", nil, false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			record := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Labels: map[string]string{"version": test.version, "status": test.status}, OwnerReferences: test.owners,
			}}
			if got := helmIsAtWork(server, []metav1.PartialObjectMetadata{record}, 2); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
