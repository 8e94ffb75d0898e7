// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// If the managers of an object are erased, the API server makes one up, which would own the operator's fields forever.
func TestErasedManagersKeepNoField(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	claim := &corev1.PersistentVolumeClaim{}
	w.patchJSON("alice", claim, `[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`)
	w.eventually("the operator is a manager again", func() error {
		w.get("alice", claim)
		for _, entry := range claim.ManagedFields {
			if entry.Manager == "jupyter-server-operator" {
				return nil
			}
		}
		return errors.New("the operator is no manager")
	})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.Retain = true })
	w.released("alice")
	w.eventually("the claim is orphaned", func() error {
		w.get("alice", claim)
		return expect(len(claim.OwnerReferences), 0)
	})
}
