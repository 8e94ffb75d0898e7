// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
)

// An operator that is killed during an upgrade leaves a record. If the change of the spec is undone before the next operator starts,
// only the generation shows that there was one.
func TestRecordOfAnAbandonedUpgrade(t *testing.T) {
	for reason, status := range map[string]helmrelease.Status{
		"killed before the objects were applied":             helmrelease.StatusPendingUpgrade,
		"killed before the status was written":               helmrelease.StatusDeployed,
		"rejected, and killed before the status was written": helmrelease.StatusFailed,
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			w.quiet()
			_, record := w.record(1)
			record.Version, record.Manifest, record.Info.Status = 2, "# another one", status
			w.writeRecord(record)
			w.own("sh.helm.release.v1.alice.v2")
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)} })
			w.eventually("the records are repaired", func() error {
				list, history := w.helm("list"), w.helm("history", "alice")
				if !strings.Contains(list, "deployed") || strings.Count(history, "deployed") != 1 || strings.Contains(history, "pending") {
					return errors.New(list + history)
				}
				return nil
			})
			if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "kind: StatefulSet") {
				t.Errorf("the newest manifest is not that of the objects:\n%s", manifest)
			}
		})
	}
}

// Two operators that were killed one after the other, with a change of the spec in between, leave two deployed records and no status.
func TestRecordsOfInterruptedInstalls(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Storage.ExistingClaim = "later"
	w.create(server)
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	for revision := range 2 {
		record := helmrelease.Mock(&helmrelease.MockReleaseOptions{Name: "alice", Version: revision + 1, Namespace: w.namespace})
		name := fmt.Sprintf("sh.helm.release.v1.alice.v%d", revision+1)
		w.writeRecord(record)
		w.own(name)
	}
	w.create(w.claim("later", nil))
	w.released("alice")
	if history := w.helm("history", "alice"); strings.Count(history, "deployed") != 1 {
		t.Errorf("helm history:\n%s", history)
	}
}

// own makes the server the owner of a record, as the operator does.
func (w *world) own(record string) {
	w.Helper()
	server := &v1alpha1.JupyterServer{}
	w.get("alice", server)
	owner := gather.RefOf(server, nil).Owner()
	w.patch(record, &corev1.Secret{}, fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true}]}}`,
		owner.APIVersion, owner.Kind, owner.Name, owner.UID))
}
