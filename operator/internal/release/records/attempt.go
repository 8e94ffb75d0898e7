// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Attempt is a new revision on its way: Prepare reads, Begin writes its record as pending, and Finish or Fail marks it. A record
// that a crash left pending is used again by the next attempt, so its revision counts once.
type Attempt struct {
	Record  *Record // the new one; nil before Begin
	MetHelm bool    // Helm wrote one of the records that were read

	ref      objects.Ref
	revision int     // the new one
	previous *Record // what it supersedes; nil if there is none
	good     int     // the revision to roll back to, whose record is kept
}

// Prepare finds the revision to write and the one that it supersedes. Current is the newest revision, nil before the first
// install. With pastAll the new revision is newer than every record, whoever wrote it.
func (s *Store) Prepare(ctx context.Context, ref objects.Ref, current *v1alpha1.ReleaseStatus, pastAll bool) (*Attempt, error) {
	a := &Attempt{ref: ref, revision: 1}
	if current != nil {
		a.good, a.revision = current.GoodRevision, current.Revision+1
		var err error
		if a.previous, err = s.Get(ctx, ref, current.Revision); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		a.MetHelm = a.previous != nil && a.previous.adopted
	}
	if a.previous == nil || pastAll {
		return a, s.skipAll(ctx, a)
	}
	return a, nil
}

// skipAll looks through all records, adopts those of the release, and marks those as superseded that a crash or Helm left
// deployed. The new revision becomes the newest, or one that Begin can use again.
func (s *Store) skipAll(ctx context.Context, a *Attempt) error {
	all, err := s.List(ctx, a.ref)
	if err != nil {
		return err
	}
	for _, record := range all {
		if err := s.claim(ctx, a.ref, record); err != nil {
			return err
		}
		a.MetHelm = a.MetHelm || record.adopted
		a.revision = max(a.revision, record.Revision)
	}
	for _, listed := range all[:max(0, len(all)-1)] {
		if !listed.isDeployed() || a.previous != nil && a.previous.Revision == listed.Revision { // Finish supersedes the previous one
			continue
		}
		record, err := s.Get(ctx, a.ref, listed.Revision)
		if err == nil {
			err = s.supersede(ctx, a.ref, record)
		}
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// supersede marks a record as superseded if it is deployed. It may be nil.
func (s *Store) supersede(ctx context.Context, ref objects.Ref, record *Record) error {
	if record == nil || !record.isDeployed() {
		return nil
	}
	return s.mark(ctx, ref, record, helmrelease.StatusSuperseded)
}

// Begin writes the record of the new revision as pending. A record of its number that was never deployed, or has the same content,
// is used again; else, or if a Secret of another type has its name, the next number is tried.
func (s *Store) Begin(ctx context.Context, a *Attempt, content *render.Rendered) error {
	for taken := 0; ; a.revision++ {
		var err error
		if a.Record, err = s.pending(a, content); err != nil {
			return err
		}
		err = s.write(ctx, a.ref, a.Record)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		there, err := s.Get(ctx, a.ref, a.revision)
		if err != nil {
			return err
		}
		if there == nil {
			if taken++; taken > mostTaken {
				return &ConflictError{Name: a.ref.Name}
			}
			continue
		}
		a.MetHelm = a.MetHelm || there.adopted
		a.Record.Secret.ResourceVersion, a.Record.fixed = there.Secret.ResourceVersion, there.fixed
		switch {
		case there.isDeployed() && there.Digest() == a.Record.Digest():
			return nil // the operator ended between this record and the status
		case there.isDeployed(), there.Status == helmrelease.StatusSuperseded:
			err = s.supersede(ctx, a.ref, a.previous) // the operator may have ended before that
			a.previous = there
		case there.fixed:
			err = s.mark(ctx, a.ref, there, helmrelease.StatusFailed)
		default:
			return s.write(ctx, a.ref, a.Record)
		}
		if err != nil {
			return err
		}
	}
}

// pending returns a slim record: it holds the values and the manifest but not the chart's templates, which only a `helm upgrade`
// without a chart would read.
func (s *Store) pending(a *Attempt, content *render.Rendered) (*Record, error) {
	record := newRecord(a.ref, a.revision, metav1.ObjectMeta{Labels: map[string]string{revisionLabel: strconv.Itoa(a.revision)}})
	values, err := json.Marshal(content.Values)
	if err != nil {
		return nil, fmt.Errorf("encoding the values of the release record: %w", err)
	}
	about, err := json.Marshal(chart.Chart{Metadata: s.chart})
	if err != nil {
		return nil, fmt.Errorf("encoding the chart of the release record: %w", err)
	}
	now := helmtime.Time{Time: s.clock.Now()}
	record.Status = helmrelease.StatusPendingInstall
	record.Content = &Content{
		Name: a.ref.Name, Namespace: a.ref.Namespace, Version: a.revision, Chart: about, Config: values, Manifest: content.Manifest,
		Info: &Info{
			FirstDeployed: now, LastDeployed: now, Description: "Being applied",
			Notes: fmt.Sprintf("This release belongs to the JupyterServer %s: change that instead of the release.\n", a.ref.Name),
		},
	}
	if a.previous != nil && a.previous.Content != nil {
		record.Status, record.Content.Info.FirstDeployed = helmrelease.StatusPendingUpgrade, a.previous.Content.Info.FirstDeployed
	}
	return record, nil
}

// Finish marks the record as deployed and the previous one as superseded, and prunes old ones. The description shows in
// `helm history`.
func (s *Store) Finish(ctx context.Context, a *Attempt, description string) error {
	a.Record.Content.Info.Description = description
	if err := s.mark(ctx, a.ref, a.Record, helmrelease.StatusDeployed); err != nil {
		return err
	}
	if err := s.supersede(ctx, a.ref, a.previous); err != nil {
		return err
	}
	return s.Prune(ctx, a.ref, a.revision, a.good)
}

// Fail marks the record as failed, so that `helm history` shows it. It is best effort: the attempt fails with its cause anyway,
// and a record left pending is used again.
func (s *Store) Fail(ctx context.Context, a *Attempt, cause error) {
	a.Record.Content.Info.Description = cause.Error()
	_ = s.mark(ctx, a.ref, a.Record, helmrelease.StatusFailed)
}

// Prune deletes the records that are obsolete with a newest and a good revision.
func (s *Store) Prune(ctx context.Context, ref objects.Ref, newest, good int) error {
	if newest <= keep {
		return nil
	}
	all, err := s.List(ctx, ref)
	if err != nil {
		return err
	}
	for _, record := range all {
		if !isObsolete(ref, record, newest, good) {
			continue
		}
		if err := s.writer.Delete(ctx, record.Secret, client.Preconditions{UID: &record.Secret.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting an old release record: %w", err)
		}
	}
	return nil
}

// isObsolete reports whether a record is not kept: the newest ones are, the good one, and those of other owners.
func isObsolete(ref objects.Ref, record *Record, newest, good int) bool {
	owner := ref.Ownership(record.Secret.OwnerReferences)
	return record.Revision <= newest-keep && record.Revision != good && (owner == objects.Own || owner == objects.Orphan)
}
