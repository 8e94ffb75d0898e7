// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Somebody who runs `helm uninstall` or `helm rollback` changes the objects, which the informers show, and the records, which they do
// not. So the records are looked at, once, after every repair, and after every upgrade that met with Helm's traces: when Helm, which
// writes them last, should be done.
const (
	reviewAfter = settleTime
	// latestReview is for how long one repair after the other puts that off.
	latestReview = time.Minute
	// patience is for how long a record that says that Helm is at work is believed.
	patience = 5 * time.Minute
)

// unreported says that nobody has reported on the spec yet. Before a crash, another one may have been recorded, and taken back since.
func unreported(server *v1alpha1.JupyterServer) bool {
	return server.Status.ObservedGeneration != server.Generation
}

// untilReview is how long until the records are to be looked at: 0 where they need not be, and less where they are overdue.
func (e *Engine) untilReview(server *v1alpha1.JupyterServer) time.Duration {
	if released := server.Status.Release; released != nil && released.ReviewDue && e.written.unreviewed(server).since.IsZero() {
		e.written.wantReview(server, e.clock.Now()) // who was to do it is gone
	}
	return e.leftUntilReview(server)
}

func (e *Engine) leftUntilReview(server *v1alpha1.JupyterServer) time.Duration {
	wanted := e.written.unreviewed(server)
	if wanted.since.IsZero() {
		return 0
	}
	left := min(reviewAfter-e.clock.Since(wanted.last), latestReview-e.clock.Since(wanted.since))
	if left > 0 {
		return left
	}
	return -1
}

// review looks at the records of a server whose objects are in order, and makes a new one where the newest is not the release any more.
// It returns after what time to look again: Helm may still be at work.
func (e *Engine) review(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered) (*v1alpha1.ReleaseStatus, time.Duration, error) {
	released := e.Released(server)
	records, err := e.records(ctx, server)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case onlyDeployed(records, released.Revision):
	case helmIsAtWork(server, records, released.Revision) && !e.hasWaited(server):
		return dueFor(released, true), reviewAfter, nil
	default:
		released, err = e.upgrade(ctx, server, rendered, Observation{State: Repaired}, "Recorded again", released.RolledBack)
		if err != nil {
			return nil, 0, err
		}
	}
	e.written.setReviewed(server, e.clock.Now().Add(-reviewAfter))
	left := e.leftUntilReview(server)
	return dueFor(released, left > 0), max(left, 0), nil
}

// hasWaited says whether Helm had the time to finish. The time starts when that is asked first.
func (e *Engine) hasWaited(server *v1alpha1.JupyterServer) bool {
	since := e.written.unreviewed(server).since
	if since.IsZero() {
		e.written.wantReview(server, e.clock.Now())
		return false
	}
	return e.clock.Since(since) >= patience
}

// dueFor is a release whose records are to be looked at, or have been.
func dueFor(released *v1alpha1.ReleaseStatus, review bool) *v1alpha1.ReleaseStatus {
	out := *released
	out.ReviewDue = review
	return &out
}

// records are the metadata of the records of a name, whoever made them. What only has their labels is none of them.
func (e *Engine) records(ctx context.Context, server *v1alpha1.JupyterServer) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := e.live.List(ctx, list, client.InNamespace(server.Namespace), client.MatchingLabels{"owner": "helm", "name": server.Name},
		client.MatchingFields{"type": string(RecordType)})
	if err != nil {
		return nil, fmt.Errorf("listing the release records: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(record metav1.PartialObjectMetadata) bool {
		revision := revisionOf(record)
		return revision <= 0 || revision > largestRevision || record.Name != key(server.Name, revision)
	}), nil
}

// largestRevision leaves room for more: somebody who writes a record with the largest number there is stops nothing.
const largestRevision = math.MaxInt32

// revisionOf reads the labels of a record (helm.sh/helm/v3/pkg/storage/driver/secrets.go).
func revisionOf(record metav1.PartialObjectMetadata) int {
	revision, err := strconv.Atoi(record.Labels["version"])
	if err != nil {
		return 0
	}
	return revision
}

// onlyDeployed says whether the newest record is the release, and no other one says so of itself. One that Helm wrote holds what Helm
// rolled back to, also where its number is that of the release: the two may have worked at the same time.
func onlyDeployed(records []metav1.PartialObjectMetadata, revision int) bool {
	found := false
	for _, record := range records {
		deployed := record.Labels["status"] == helmrelease.StatusDeployed.String()
		switch is := revisionOf(record); {
		case is > revision, is != revision && deployed:
			return false
		case is == revision:
			found = deployed && record.Labels[revisionLabel] == record.Labels["version"]
		}
	}
	return found
}

// helmIsAtWork says whether a record tells that Helm has not finished. One with our owner is not Helm's, which writes records without:
// an operator was killed.
func helmIsAtWork(server *v1alpha1.JupyterServer, records []metav1.PartialObjectMetadata, revision int) bool {
	for _, record := range records {
		status := record.Labels["status"]
		if revisionOf(record) >= revision && WhoseIs(server, record.OwnerReferences) != Ours &&
			(strings.HasPrefix(status, "pending-") || status == helmrelease.StatusUninstalling.String()) {
			return true
		}
	}
	return false
}
