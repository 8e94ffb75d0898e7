// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// A damaged or immutable record does not block an upgrade, after which one revision is deployed.
func TestRecordsThatCannotBeUpdated(t *testing.T) {
	tests := []struct {
		reason, patch string
		deployed      string // revisions, by their labels
	}{
		{"an immutable record", `{"immutable":true}`, "2"},
		{"a damaged record", `{"data":{"release":"eA=="}}`, "2"},
		{"a damaged record that is immutable", `{"data":{"release":"eA=="},"immutable":true}`, "2"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			w.patch("sh.helm.release.v1.alice.v1", &corev1.Secret{}, test.patch)
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "another" })
			if revision := w.released("alice").Status.Release.Revision; revision != 2 {
				t.Errorf("revision %d", revision)
			}
			w.eventually("one release is deployed", func() error { return expect(w.deployed(), test.deployed) })
			w.runsImage("alice", "another")
		})
	}
}

// If a policy of the cluster makes every Secret immutable, the content of a record stays pending forever.
func TestRecordThatIsImmutableFromTheStart(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	records, record := w.record(1)
	record.Version, record.Info.Status = 9, helmrelease.StatusPendingInstall
	if err := records.Create("pending", record); err != nil {
		t.Fatal(err)
	}
	pending := &corev1.Secret{}
	w.get("pending", pending)
	w.remove("pending", &corev1.Secret{})
	w.patch("sh.helm.release.v1.alice.v1", &corev1.Secret{}, fmt.Sprintf(`{"data":{"release":%q},"immutable":true}`,
		base64.StdEncoding.EncodeToString(pending.Data["release"])))
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "another" })
	w.released("alice")
	w.eventually("one release is deployed", func() error { return expect(w.deployed(), "2") })
}

// A pending record that a crash left, and that was made immutable, is skipped.
func TestPendingRecordThatIsImmutable(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	_, record := w.record(1)
	record.Version, record.Info.Status = 2, helmrelease.StatusPendingUpgrade
	w.writeRecord(record)
	w.own("sh.helm.release.v1.alice.v2")
	w.patch("sh.helm.release.v1.alice.v2", &corev1.Secret{}, `{"immutable":true}`)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "another" })
	w.released("alice")
	w.eventually("one release is deployed", func() error { return expect(w.deployed(), "3") })
}

// deployed returns the revisions of alice that are deployed by their labels.
func (w *world) deployed() string {
	w.Helper()
	var list corev1.SecretList
	if err := suite.client.List(w.ctx, &list, client.InNamespace(w.namespace),
		client.MatchingLabels{"owner": "helm", "status": helmrelease.StatusDeployed.String()}); err != nil {
		w.Fatal(err)
	}
	var revisions []string
	for _, record := range list.Items {
		revisions = append(revisions, record.Labels["version"])
	}
	return strings.Join(revisions, " ")
}

// A foreign Secret with the name of the next record is left alone.
func TestSecretWithTheNameOfARecordIsLeftAlone(t *testing.T) {
	for reason, lost := range map[string]bool{"the newest record exists": false, "all records are searched": true} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			theirs := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "sh.helm.release.v1.alice.v2", Namespace: w.namespace, Labels: map[string]string{"owner": "helm", "name": "alice", "version": "2"}},
				StringData: map[string]string{"release": "theirs"},
			}
			w.create(theirs)
			if lost {
				w.remove("sh.helm.release.v1.alice.v1", &corev1.Secret{})
			}
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "another" })
			if revision := w.released("alice").Status.Release.Revision; revision != 3 {
				t.Errorf("revision %d", revision)
			}
			after := &corev1.Secret{}
			if w.get(theirs.Name, after); after.ResourceVersion != theirs.ResourceVersion {
				t.Errorf("the Secret was changed: %+v", after.ObjectMeta)
			}
		})
	}
}

// Helm keeps ten revisions, and creates one for each rollback.
func TestRecordsOfHelmArePruned(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	_, record := w.record(1)
	for revision := 2; revision <= 8; revision++ {
		record.Version, record.Info.Status = revision, helmrelease.StatusSuperseded
		w.writeRecord(record)
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)} })
	w.eventually("the release is recorded again, and old records are pruned", func() error { return w.hasRecords(5, 6, 7, 8, 9) })
}

// Helm writes its record before it changes anything. A new generation does not make it a record that a crash left.
func TestPendingRecordOfHelmIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.quiet()
	_, record := w.record(1)
	record.Version, record.Info.Status = 2, helmrelease.StatusPendingRollback
	w.writeRecord(record)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)} })
	w.released("alice")
	w.quiet()
	if _, record = w.record(2); record.Info.Status != helmrelease.StatusPendingRollback {
		t.Errorf("the record is %s", record.Info.Status)
	}
}

// The generation of the newest release is known, however often it is recorded again.
func TestRecordingAgainKeepsTheGeneration(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	before := w.released("alice").Status.Release.Generation
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
	})
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	w.helm("rollback", "alice", "1")
	server := &v1alpha1.JupyterServer{}
	w.eventually("the release is recorded again", func() error {
		w.get("alice", server)
		if server.Status.Release.Revision < 4 {
			return errors.New(w.helm("history", "alice"))
		}
		return nil
	})
	if after := server.Status.Release.Generation; after != before || before == 0 {
		t.Errorf("generation %d, before %d", after, before)
	}
}
