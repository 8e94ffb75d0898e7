// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// keep is how many records of a release are kept, beside that of the good revision.
const keep = 5

// Attempt is a new revision on its way: Prepare reads, Begin writes its record as pending, and Finish or Fail marks it. A record
// that a crash left pending is used again by the next attempt, so its revision counts once.
type Attempt struct {
	// Record is the new record. It is nil before Begin.
	Record *Record
	// MetHelm reports whether Helm wrote one of the records that were read.
	MetHelm bool

	ref      objects.Ref
	good     int // the revision to roll back to; its record is kept
	revision int
	previous *Record // deployed before; nil if there is none or it cannot be decoded
	damaged  int     // the revision deployed before whose record cannot be decoded; 0: none
	metas    []Meta  // all records, if they had to be listed
}

// Prepare finds the revision to write and the one that it supersedes. Current is the newest revision, nil before the first
// install. With pastAll the new revision is newer than every record, whoever wrote it.
func (s *Store) Prepare(ctx context.Context, ref objects.Ref, current *v1alpha1.ReleaseStatus, pastAll bool) (*Attempt, error) {
	a := &Attempt{ref: ref, revision: 1}
	if current != nil {
		a.good, a.revision = current.GoodRevision, current.Revision+1
		previous, err := s.Get(ctx, ref, current.Revision)
		switch {
		case errors.Is(err, ErrNotFound):
			pastAll = true
		case errors.Is(err, ErrDamaged):
			a.damaged = current.Revision
		case err != nil:
			return nil, err
		default:
			a.previous, a.MetHelm = previous, previous.adopted
		}
	}
	if current != nil && !pastAll {
		return a, nil
	}
	return a, s.skipAll(ctx, a)
}

// skipAll looks through all records, adopts those of the release, and marks those as superseded that a crash or Helm left
// deployed. The new revision becomes the newest, or one that begin can use again.
func (s *Store) skipAll(ctx context.Context, a *Attempt) error {
	metas, err := s.List(ctx, a.ref)
	if err != nil {
		return err
	}
	a.metas = metas
	for _, meta := range metas {
		adopted, err := s.ensureOwned(ctx, a.ref, meta.Secret, new(string))
		if err != nil {
			return err
		}
		a.MetHelm = a.MetHelm || adopted
		a.revision = max(a.revision, meta.Revision)
	}
	for _, meta := range metas {
		if meta.Status != helmrelease.StatusDeployed || meta.Revision == metas[len(metas)-1].Revision {
			continue
		}
		if a.previous != nil && meta.Revision == a.previous.Version {
			err = s.supersedePrevious(ctx, a)
		} else {
			err = s.supersede(ctx, a.ref, meta.Revision)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) supersede(ctx context.Context, ref objects.Ref, revision int) error {
	record, err := s.Get(ctx, ref, revision)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case errors.Is(err, ErrDamaged):
		return s.label(ctx, ref, revision, helmrelease.StatusSuperseded)
	case err != nil:
		return err
	}
	return s.mark(ctx, ref, record, helmrelease.StatusSuperseded)
}

// Begin writes the record of the new revision as pending.
func (s *Store) Begin(ctx context.Context, a *Attempt, content *render.Rendered) error {
	for {
		a.Record = s.pending(a, content)
		err := s.create(ctx, a.ref, a.Record)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		there, err := s.Get(ctx, a.ref, a.revision)
		if errors.Is(err, errNotARecord) || errors.Is(err, ErrDamaged) {
			a.revision++
			continue
		}
		if err != nil {
			return err
		}
		a.MetHelm = a.MetHelm || there.adopted
		if done, err := s.reuse(ctx, a, there); done || err != nil {
			return err
		}
		a.revision++
	}
}

// reuse writes the new revision into a record that is there, if that was never deployed or has the same content. Done is false if
// another revision is needed.
func (s *Store) reuse(ctx context.Context, a *Attempt, there *Record) (done bool, err error) {
	a.Record.seen = there.seen
	switch status := there.Info.Status; {
	case status == helmrelease.StatusDeployed && there.Manifest == a.Record.Manifest:
		return true, nil // the operator ended between this record and the status
	case status == helmrelease.StatusDeployed, status == helmrelease.StatusSuperseded:
		err := s.supersedePrevious(ctx, a) // the operator may have ended before that
		a.previous, a.damaged = there, 0
		return false, err
	}
	err = s.update(ctx, a.ref, a.Record)
	if !isImmutable(err) {
		return true, err
	}
	return false, s.label(ctx, a.ref, a.revision, helmrelease.StatusFailed)
}

// pending returns a slim record: it holds the values and the manifest but not the chart's templates, which only a `helm upgrade`
// without a chart would read.
func (s *Store) pending(a *Attempt, content *render.Rendered) *Record {
	now := helmtime.Time{Time: s.clock.Now()}
	status, first := helmrelease.StatusPendingInstall, now
	if a.previous != nil {
		status, first = helmrelease.StatusPendingUpgrade, a.previous.Info.FirstDeployed
	}
	return &Record{Release: &helmrelease.Release{
		Name:      a.ref.Name,
		Namespace: a.ref.Namespace,
		Version:   a.revision,
		Labels:    map[string]string{revisionLabel: strconv.Itoa(a.revision)},
		Chart:     &chart.Chart{Metadata: s.chart},
		Config:    content.Values,
		Manifest:  content.Manifest,
		Info: &helmrelease.Info{
			FirstDeployed: first,
			LastDeployed:  now,
			Status:        status,
			Description:   "Being applied",
			Notes:         fmt.Sprintf("This release belongs to the JupyterServer %s: change that instead of the release.\n", a.ref.Name),
		},
	}}
}

// Finish marks the record as deployed and the previous one as superseded, and prunes old ones. The description shows in
// `helm history`.
func (s *Store) Finish(ctx context.Context, a *Attempt, description string) error {
	a.Record.Info.Description = description
	if err := s.mark(ctx, a.ref, a.Record, helmrelease.StatusDeployed); err != nil {
		return err
	}
	if err := s.supersedePrevious(ctx, a); err != nil {
		return err
	}
	if a.metas != nil {
		return s.prune(ctx, a.ref, a.metas, a.revision, a.good)
	}
	return s.Prune(ctx, a.ref, a.revision, a.good)
}

func (s *Store) supersedePrevious(ctx context.Context, a *Attempt) error {
	if a.previous != nil && a.previous.Info.Status == helmrelease.StatusDeployed {
		return s.mark(ctx, a.ref, a.previous, helmrelease.StatusSuperseded)
	}
	if a.damaged != 0 {
		return s.label(ctx, a.ref, a.damaged, helmrelease.StatusSuperseded)
	}
	return nil
}

// Fail marks the record as failed, so that `helm history` shows it. It is best effort: the attempt fails with its cause anyway,
// and a record left pending is used again.
func (s *Store) Fail(ctx context.Context, a *Attempt, cause error) {
	a.Record.Info.Status = helmrelease.StatusFailed
	a.Record.Info.Description = cause.Error()
	_ = s.update(ctx, a.ref, a.Record)
}

// Prune deletes the records that are obsolete with a newest and a good revision.
func (s *Store) Prune(ctx context.Context, ref objects.Ref, newest, good int) error {
	if newest <= keep {
		return nil
	}
	metas, err := s.List(ctx, ref)
	if err != nil {
		return err
	}
	return s.prune(ctx, ref, metas, newest, good)
}

func (s *Store) prune(ctx context.Context, ref objects.Ref, metas []Meta, newest, good int) error {
	for _, revision := range Obsolete(ref, metas, newest, good) {
		if err := s.delete(ctx, ref, revision); err != nil {
			return err
		}
	}
	return nil
}

// Obsolete returns the revisions of a release whose records are not kept: all but the newest ones, the good one, and those of
// other owners.
func Obsolete(ref objects.Ref, metas []Meta, newest, good int) []int {
	var out []int
	for _, meta := range metas {
		owner := ref.Ownership(meta.Secret.OwnerReferences)
		if meta.Revision <= newest-keep && meta.Revision != good && (owner == objects.Own || owner == objects.Orphan) {
			out = append(out, meta.Revision)
		}
	}
	return out
}

// IsNewest reports whether a revision is the newest of all, the only deployed one, and as the operator wrote it.
func IsNewest(metas []Meta, revision int) bool {
	found := false
	for _, meta := range metas {
		deployed := meta.Status == helmrelease.StatusDeployed
		switch {
		case meta.Revision > revision, meta.Revision != revision && deployed:
			return false
		case meta.Revision == revision:
			found = deployed && meta.Secret.Labels[revisionLabel] == strconv.Itoa(revision)
		}
	}
	return found
}

// HelmIsAtWork reports whether a record shows that a Helm command has not finished. Helm writes records without an owner; a
// pending one with an owner was left by an operator that was killed.
func HelmIsAtWork(ref objects.Ref, metas []Meta, revision int) bool {
	return slices.ContainsFunc(metas, func(meta Meta) bool {
		return meta.Revision >= revision && ref.Ownership(meta.Secret.OwnerReferences) != objects.Own &&
			(strings.HasPrefix(meta.Status.String(), "pending-") || meta.Status == helmrelease.StatusUninstalling)
	})
}
