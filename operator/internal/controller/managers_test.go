// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// Whoever erases the managers of an object has the API server make one up, which would own our fields for ever.
func TestErasedManagersKeepNoField(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	claim := &corev1.PersistentVolumeClaim{}
	w.patchJSON("alice", claim, `[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`)
	w.eventually("the managers are put right", func() error {
		w.get("alice", claim)
		for _, entry := range claim.ManagedFields {
			if entry.Manager == "jupyter-server-operator" {
				return nil
			}
		}
		return errors.New("our fields are not ours again")
	})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.Retain = true })
	w.released("alice")
	w.eventually("the claim is let go of", func() error {
		w.get("alice", claim)
		return expect(len(claim.OwnerReferences), 0)
	})
}
