// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	helmchart "helm.sh/helm/v3/pkg/chart"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/backoff"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/records"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Ref is one server's release, as this package needs to know it.
type Ref struct {
	objects.Ref
	// Current is the newest revision. It is nil before the first install.
	Current *v1alpha1.ReleaseStatus
	// Rejected reports whether the last attempt was rejected, so that the next one is rehearsed.
	Rejected bool
	// Unreported reports whether the spec has no status yet: a crash may have left records of another one.
	Unreported bool
}

// Memo is what this process remembers of one release. All of it may be lost. One goroutine at a time uses it.
type Memo struct {
	objects objects.Memo
	backoff backoff.Memo
	check   recordCheck
	// conflicts is how many the metrics count for this release.
	conflicts int
}

// State is what a Diff found.
type State string

const (
	// Absent means that there is no release yet.
	Absent State = "Absent"
	// Outdated means that what is desired differs from what was released.
	Outdated State = "Outdated"
	// Drifted means that another client changed or deleted objects of the release.
	Drifted State = "Drifted"
	// Unchecked means that nothing differs, and that Helm may have changed the records.
	Unchecked State = "Unchecked"
	// InSync means that there is nothing to do.
	InSync State = "InSync"
)

// Diff is what has to be done so that the cluster follows a revision.
type Diff struct {
	objects.Diff
	State State
	// Conflicts are the objects that another client keeps changing. Those that have to wait are left out of the diff.
	Conflicts []backoff.Conflict

	rehearsed bool
}

// Result is what came of following a revision.
type Result struct {
	// State is what was found.
	State State
	// Release is the release afterwards.
	Release *v1alpha1.ReleaseStatus
	// Summary lists what was changed. It is empty if nothing was.
	Summary string
	// Conflicts are the objects that another client keeps changing.
	Conflicts []backoff.Conflict
	// PodReplaced reports whether the pod in the informers is not the desired one, or may not be.
	PodReplaced bool
	// After is when to look again although nothing changes. Zero: never.
	After time.Duration
}

// Releaser applies revisions and records them as Helm does. It is safe for concurrent use on different releases.
type Releaser struct {
	objects *objects.Client
	records *records.Store
	limits  backoff.Limits
	metrics *Metrics
	clock   clock.PassiveClock
}

// Options are the settings of a Releaser.
type Options struct {
	// Chart is what records name as their chart.
	Chart *helmchart.Metadata
	// Limits is how soon an object is repaired that another client keeps changing. The zero value is backoff.DefaultLimits.
	Limits backoff.Limits
	// Metrics count repairs. It may be nil.
	Metrics *Metrics
}

// New returns a Releaser. The informers behind c need objects.Index and objects.Strip; live reads from the API server.
func New(c client.Client, live client.Reader, clk clock.PassiveClock, options Options) *Releaser {
	if options.Limits == (backoff.Limits{}) {
		options.Limits = backoff.DefaultLimits
	}
	return &Releaser{
		objects: objects.NewClient(c, live, clk),
		records: records.NewStore(c, live, options.Chart, clk),
		limits:  options.Limits,
		metrics: options.Metrics,
		clock:   clk,
	}
}

// InOrder reports whether the objects look as they did when Follow left them with the same inputs, and how long the informers
// may still lag behind. It makes no request and needs no rendering.
func (r *Releaser) InOrder(ctx context.Context, ref Ref, memo *Memo, inputs string) (inOrder bool, lag time.Duration, err error) {
	if memo.check.isDue() || memo.backoff.Active() {
		return false, 0, nil
	}
	return r.objects.InOrder(ctx, ref.Ref, &memo.objects, inputs)
}

// Diff compares a revision with the informers. It makes no request.
func (r *Releaser) Diff(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered) (Diff, error) {
	found, err := r.objects.Diff(ctx, ref.Ref, &memo.objects, want.Objects)
	if err != nil {
		return Diff{}, err
	}
	conflicts := memo.backoff.Hold(r.limits, r.clock.Now(), &found)
	return Diff{Diff: found, State: r.stateOf(ref, memo, want, found), Conflicts: conflicts}, nil
}

func (r *Releaser) stateOf(ref Ref, memo *Memo, want *render.Rendered, found objects.Diff) State {
	switch {
	case ref.Current == nil:
		return Absent
	case ref.Current.InputDigest != want.Digest:
		return Outdated
	case !found.IsEmpty():
		return Drifted
	case ref.Unreported, memo.check.isDueAt(r.clock.Now()):
		return Unchecked
	}
	return InSync
}

// Rehearse sends an upgrade as a dry run, so that the rejection of one object changes none.
func (r *Releaser) Rehearse(ctx context.Context, ref Ref, memo *Memo, diff *Diff) error {
	diff.rehearsed = true
	return r.objects.DryRun(ctx, ref.Ref, &memo.objects, diff.Diff)
}

// Follow applies a diff and records what was applied. Inputs identify what the revision was rendered from, for InOrder. On an
// error nothing that was applied is undone; the next call continues there. Its errors include those of objects.Client.Apply and
// *records.ConflictError.
func (r *Releaser) Follow(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered, diff Diff, inputs string) (Result, error) {
	return r.follow(ctx, ref, memo, want, diff, inputs, revision{description: "Applied"})
}

// RollBack applies a diff to an older revision as a new one, and remembers what was rolled back, and why.
func (r *Releaser) RollBack(ctx context.Context, ref Ref, memo *Memo, good *render.Rendered, diff Diff, why string) (Result, error) {
	failed := ref.Current
	diff.State = Outdated
	return r.follow(ctx, ref, memo, good, diff, "", revision{
		description: fmt.Sprintf("Rollback to %d", failed.GoodRevision),
		rolledBack: &v1alpha1.RolledBack{
			Revision: failed.Revision, InputDigest: failed.InputDigest, SpecDigest: failed.SpecDigest, Message: why,
		},
	})
}

// revision is what the record of a new revision says beside its content.
type revision struct {
	description string
	rolledBack  *v1alpha1.RolledBack
}

func (r *Releaser) follow(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered, diff Diff, inputs string, as revision) (Result, error) {
	result := Result{
		State: diff.State, Release: ref.Current, Summary: diff.Summary(), PodReplaced: diff.ChangesPod(),
		Conflicts: diff.Conflicts, After: diff.Lag,
	}
	var err error
	switch diff.State {
	case InSync:
	case Drifted:
		err = r.apply(ctx, ref, memo, diff)
		memo.check.want(r.clock.Now())
		if err == nil && ref.Unreported {
			result.Release, err = r.checkRecords(ctx, ref, memo, want)
		}
	case Unchecked:
		if result.Release, err = r.checkRecords(ctx, ref, memo, want); err != nil {
			memo.check.due = r.clock.Now() // again in the next turn
		}
	default:
		result.Release, err = r.upgrade(ctx, ref, memo, want, diff, as)
	}
	if err != nil {
		return Result{}, err
	}
	r.noteConflicts(ctx, memo, &result)
	r.countConflicts(memo, len(result.Conflicts))
	result.After = Soonest(result.After, memo.check.left(r.clock.Now()))
	memo.objects.Settle(inputs, ref.Ref, diff.Diff)
	return result, nil
}

// apply applies a diff and counts repairs.
func (r *Releaser) apply(ctx context.Context, ref Ref, memo *Memo, diff Diff) error {
	done, err := r.objects.Apply(ctx, ref.Ref, &memo.objects, diff.Diff)
	for _, repaired := range memo.backoff.Repaired(r.limits, r.clock.Now(), diff.State == Drifted, done) {
		r.metrics.repaired(repaired.Key.Kind)
	}
	return err
}

// upgrade writes a record, applies, and marks the record as deployed. A first install is an upgrade from nothing.
func (r *Releaser) upgrade(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered, diff Diff, as revision) (*v1alpha1.ReleaseStatus, error) {
	attempt, err := r.records.Prepare(ctx, ref.Ref, ref.Current, diff.State == Unchecked)
	if err != nil {
		return nil, err
	}
	if isRehearsed(ref, diff) {
		if err := r.Rehearse(ctx, ref, memo, &diff); err != nil {
			return nil, err
		}
	}
	if err := r.records.Begin(ctx, attempt, want); err != nil {
		return nil, err
	}
	if err := r.apply(ctx, ref, memo, diff); err != nil {
		if diff.State == Absent && isRejected(err) {
			r.objects.Undo(ctx, &memo.objects, diff.Diff)
		}
		r.records.Fail(ctx, attempt, err)
		return nil, err
	}
	released := newStatus(ref, attempt.Record, want, as.rolledBack)
	if err := r.records.Finish(ctx, attempt, as.description); err != nil {
		return nil, err
	}
	if diff.State != Unchecked && (attempt.MetHelm || diff.ByHelm()) {
		memo.check.want(r.clock.Now()) // Helm may not have written its record yet
	}
	return released, nil
}

func newStatus(ref Ref, record *records.Record, want *render.Rendered, rolledBack *v1alpha1.RolledBack) *v1alpha1.ReleaseStatus {
	released := &v1alpha1.ReleaseStatus{
		Name: ref.Name, Revision: record.Revision, InputDigest: want.Digest, SpecDigest: want.SpecDigest,
		RecordDigest: record.Digest(), RolledBack: rolledBack,
	}
	last := ref.Current
	if last != nil {
		released.GoodRevision, released.GoodRecordDigest = last.GoodRevision, last.GoodRecordDigest
	}
	if last != nil && last.InputDigest == want.Digest {
		released.Generation = last.Generation
	}
	return released
}

// isRehearsed reports whether a dry run comes right before an upgrade. Of several objects that run, all or none may change. A first
// install is tried without, to save a request for each object; once it was rejected, it is rehearsed.
func isRehearsed(ref Ref, diff Diff) bool {
	return !diff.rehearsed && (diff.State == Outdated && len(diff.Apply) > 1 || ref.Rejected)
}

// isRejected reports whether trying an apply again soon is of no use.
func isRejected(err error) bool {
	var (
		conflict *objects.ConflictError
		apply    *objects.ApplyError
	)
	return errors.As(err, &conflict) || errors.As(err, &apply) && apply.Rejected()
}

// noteConflicts finds out where the changes of new conflicts come from, with one read of each object, and when to look again.
// What cannot be read stays unknown until the next turn.
func (r *Releaser) noteConflicts(ctx context.Context, memo *Memo, result *Result) {
	for i := range result.Conflicts {
		conflict := &result.Conflicts[i]
		if conflict.Source == nil && conflict.Change != nil {
			conflict.Source, _ = r.objects.SourceOf(ctx, *conflict.Change)
		}
		memo.backoff.Note(r.clock.Now(), conflict)
		result.After = Soonest(result.After, conflict.Wait)
	}
}

func (r *Releaser) countConflicts(memo *Memo, now int) {
	r.metrics.conflict(now - memo.conflicts)
	memo.conflicts = now
}

// Forget ends what the metrics count for a release that is no longer worked on.
func (r *Releaser) Forget(memo *Memo) { r.countConflicts(memo, 0) }

// Current returns what the newest revision was made of, or nil if its record is gone or was modified. It costs a request.
func (r *Releaser) Current(ctx context.Context, ref Ref) (*render.Rendered, error) {
	content, err := r.read(ctx, ref, ref.Current.Revision, ref.Current.RecordDigest)
	if content == nil || err != nil {
		return nil, err
	}
	content.Digest, content.SpecDigest = ref.Current.InputDigest, ref.Current.SpecDigest
	return content, nil
}

// Good returns what the newest revision was made of with which the server was ready, or nil if its record is gone or was
// modified. It costs a request.
func (r *Releaser) Good(ctx context.Context, ref Ref) (*render.Rendered, error) {
	return r.read(ctx, ref, ref.Current.GoodRevision, ref.Current.GoodRecordDigest)
}

// read believes only a record whose digest is in the status: anyone who can write Secrets, but not the status, could otherwise
// have the operator apply what the policies never saw.
func (r *Releaser) read(ctx context.Context, ref Ref, revision int, digest string) (*render.Rendered, error) {
	record, err := r.records.Get(ctx, ref.Ref, revision)
	if err != nil || record == nil || digest == "" || record.Digest() != digest {
		return nil, err
	}
	return render.Read(record.Content.Manifest, record.Content.Config)
}

// Lags reports whether the informers may not show the operator's last write of a StatefulSet yet. A nil set is one that they
// do not show.
func (r *Releaser) Lags(ref Ref, memo *Memo, set *appsv1.StatefulSet) bool {
	return r.objects.SetLags(ref.Ref, &memo.objects, set)
}

// ScaleToZero stops the pod of a StatefulSet and leaves everything else as it is.
func (r *Releaser) ScaleToZero(ctx context.Context, set *appsv1.StatefulSet) error {
	return r.objects.ScaleToZero(ctx, set)
}

// Prune deletes the records that are obsolete since another revision is good.
func (r *Releaser) Prune(ctx context.Context, ref Ref) error {
	return r.records.Prune(ctx, ref.Ref, ref.Current.Revision, ref.Current.GoodRevision)
}

// Soonest returns the shorter of two waits, of which zero is none.
func Soonest(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
