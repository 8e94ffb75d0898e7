// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"slices"
	"strconv"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

var ref = objects.Ref{Namespace: "lab", Name: "alice", UID: "1"}

// written returns the metadata of a record that the operator wrote.
func written(revision int, status helmrelease.Status) Meta {
	return Meta{revision, status, metav1.ObjectMeta{
		Labels: map[string]string{revisionLabel: strconv.Itoa(revision)}, OwnerReferences: []metav1.OwnerReference{ref.Owner()},
	}}
}

// byHelm returns the metadata of a record that Helm wrote when it went back to revision 1.
func byHelm(revision int, status helmrelease.Status) Meta {
	return Meta{revision, status, metav1.ObjectMeta{Labels: map[string]string{revisionLabel: "1"}}}
}

func TestHelmIsAtWork(t *testing.T) {
	tests := []struct {
		reason string
		record Meta
		want   bool
	}{
		{"helm rollback writes the next record first", byHelm(3, helmrelease.StatusPendingRollback), true},
		{"helm uninstall marks the newest record, and drops its owner", byHelm(2, helmrelease.StatusUninstalling), true},
		{"an operator that was killed left its record", written(3, helmrelease.StatusPendingUpgrade), false},
		{"a deployed record is finished", byHelm(3, helmrelease.StatusDeployed), false},
		{"an older record is history", byHelm(1, helmrelease.StatusPendingInstall), false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := HelmIsAtWork(ref, []Meta{test.record}, 2); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestIsNewest(t *testing.T) {
	const deployed, superseded = helmrelease.StatusDeployed, helmrelease.StatusSuperseded
	tests := []struct {
		reason string
		metas  []Meta
		want   bool
	}{
		{"the newest record is the release", []Meta{written(1, superseded), written(2, deployed)}, true},
		{"there is no record", nil, false},
		{"its record is gone", []Meta{written(1, superseded)}, false},
		{"there is a newer one", []Meta{written(2, deployed), byHelm(3, superseded)}, false},
		{"an older one is deployed, too", []Meta{written(1, deployed), written(2, deployed)}, false},
		{"it is not deployed", []Meta{written(2, superseded)}, false},
		{"Helm wrote the record of its number", []Meta{byHelm(2, deployed)}, false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := IsNewest(test.metas, 2); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

// What is obsolete follows from the records that are there, so a crash between two deletions leaves nothing behind.
func TestObsolete(t *testing.T) {
	history := func(revisions ...int) (metas []Meta) {
		for _, revision := range revisions {
			metas = append(metas, written(revision, helmrelease.StatusSuperseded))
		}
		return metas
	}
	foreign := written(2, helmrelease.StatusSuperseded)
	foreign.Secret.OwnerReferences[0].UID, foreign.Secret.OwnerReferences[0].Name = "2", "bob"
	tests := []struct {
		reason       string
		metas        []Meta
		newest, good int
		want         []int
	}{
		{"five are kept", history(1, 2, 3, 4, 5), 5, 0, nil},
		{"the oldest goes", history(1, 2, 3, 4, 5, 6), 6, 6, []int{1}},
		{"the good one stays", history(1, 2, 3, 4, 5, 6, 7), 7, 1, []int{2}},
		{"what a crash left goes, too", history(1, 2, 5, 6, 7, 8, 9), 9, 8, []int{1, 2}},
		{"a record of Helm goes", append(history(3, 4, 5, 6, 7), byHelm(2, helmrelease.StatusSuperseded)), 7, 7, []int{2}},
		{"a record of another owner stays", append(history(3, 4, 5, 6, 7), foreign), 7, 7, nil},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := Obsolete(ref, test.metas, test.newest, test.good); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
