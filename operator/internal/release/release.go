// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package release has the cluster follow one revision of a server's release, and keeps its history. Diff compares a revision
// with the cluster, Follow does what the diff asks for.
//
// It knows a server as a Ref. What may not live here: JupyterServers beyond their release status, which revision is followed,
// and why.
package release

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
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
	Current    *v1alpha1.ReleaseStatus // the newest revision; nil before the first install
	Rejected   bool                    // the last attempt was rejected, so that the next one is rehearsed
	Unreported bool                    // the spec has no status yet: a crash may have left records of another one
}

// Memo is what this process remembers of one release. All of it may be lost. One goroutine at a time uses it.
type Memo struct {
	objects   objects.Memo
	backoff   backoff.Memo
	checkAt   time.Time // when the records are to be checked; zero: never
	conflicts int       // how many the metrics count for this release
}

// checkAfter is how long after a repair, or an upgrade that met Helm's traces, the records are checked once. A `helm uninstall`
// or `helm rollback` changes objects, which informers show, and last of all records, which they do not. If the operator ends
// before the check, `helm list` is wrong until the next change.
const checkAfter = objects.SettleTime

// wantCheck asks for a check of the records. One that is wanted already is not postponed.
func (m *Memo) wantCheck(now time.Time) { m.checkAt = cmp.Or(m.checkAt, now.Add(checkAfter)) }

func (m *Memo) isCheckDue(now time.Time) bool { return !m.checkAt.IsZero() && !now.Before(m.checkAt) }

// State is what a Diff found.
type State string

// The states of a release.
const (
	Absent    State = "Absent"    // there is no release yet
	Outdated  State = "Outdated"  // what is desired differs from what was released
	Drifted   State = "Drifted"   // another client changed or deleted objects of the release
	Unchecked State = "Unchecked" // nothing differs, and Helm may have changed the records
	InSync    State = "InSync"    // there is nothing to do
)

// Diff is what has to be done so that the cluster follows a revision. Objects that have to wait are left out of it.
type Diff struct {
	objects.Diff
	State     State
	Conflicts []backoff.Conflict // the objects that another client keeps changing

	rehearsed   bool
	description string // of the new revision, in `helm history`
	rolledBack  *v1alpha1.RolledBack
}

// Result is what came of following a revision.
type Result struct {
	State       State                   // what was found
	Release     *v1alpha1.ReleaseStatus // the release afterwards
	Summary     string                  // of what was changed; empty if nothing was
	Conflicts   []backoff.Conflict      // the objects that another client keeps changing
	PodReplaced bool                    // the StatefulSet was applied: the pod in the informers may be another one
	After       time.Duration           // when to look again although nothing changes; zero: never
}

// Metrics count repairs of objects, and the objects that another client keeps changing.
type Metrics struct {
	repairs   *prometheus.CounterVec
	conflicts prometheus.Gauge
}

// NewMetrics returns metrics that are registered unless the registerer is nil.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	factory := promauto.With(registerer)
	return &Metrics{
		repairs: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "jupyterserver_drift_repairs_total",
			Help: "Objects of servers that were reverted or pruned because another client had changed, deleted or created them, by kind.",
		}, []string{"kind"}),
		conflicts: factory.NewGauge(prometheus.GaugeOpts{
			Name: "jupyterserver_contested_objects",
			Help: "Objects of servers that another client keeps changing, so that the operator backs off before reverting them.",
		}),
	}
}

// Releaser applies revisions and records them as Helm does. It is safe for concurrent use on different releases.
type Releaser struct {
	objects *objects.Client
	records *records.Store
	clock   clock.PassiveClock
	options Options
}

// Options are the settings of a Releaser.
type Options struct {
	Chart   *helmchart.Metadata // what records name as their chart
	Limits  backoff.Limits      // how soon an object is repaired that another client keeps changing; zero: backoff.DefaultLimits
	Metrics *Metrics            // nil: nothing is exported
}

// New returns a Releaser. The informers behind c need objects.Index and objects.Strip; live reads from the API server.
func New(c client.Client, live client.Reader, clk clock.PassiveClock, options Options) *Releaser {
	if options.Limits == (backoff.Limits{}) {
		options.Limits = backoff.DefaultLimits
	}
	if options.Metrics == nil {
		options.Metrics = NewMetrics(nil)
	}
	return &Releaser{objects.NewClient(c, live, clk), records.NewStore(c, live, options.Chart, clk), clk, options}
}

// InOrder reports whether the objects look as they did when Follow left them with the same inputs, and how long the informers
// may still lag behind. It makes no request and needs no rendering.
func (r *Releaser) InOrder(ctx context.Context, ref Ref, memo *Memo, inputs string) (inOrder bool, lag time.Duration, err error) {
	if !memo.checkAt.IsZero() || memo.backoff.Active() {
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
	now := r.clock.Now()
	conflicts := memo.backoff.Hold(r.options.Limits, now, &found)
	diff := Diff{Diff: found, State: InSync, Conflicts: conflicts, description: "Applied"}
	switch {
	case ref.Current == nil:
		diff.State = Absent
	case ref.Current.InputDigest != want.Digest:
		diff.State = Outdated
	case !found.IsEmpty():
		diff.State = Drifted
	case ref.Unreported, memo.isCheckDue(now):
		diff.State = Unchecked
	}
	return diff, nil
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
	result := Result{
		State: diff.State, Release: ref.Current, Summary: diff.Summary(), PodReplaced: diff.ChangesPod(),
		Conflicts: diff.Conflicts, After: diff.Lag,
	}
	var err error
	switch diff.State {
	case Absent, Outdated:
		result.Release, err = r.upgrade(ctx, ref, memo, want, diff)
	case Drifted:
		err = r.apply(ctx, ref, memo, diff)
		memo.wantCheck(r.clock.Now())
		if err == nil && ref.Unreported {
			result.Release, err = r.checkRecords(ctx, ref, memo, want)
		}
	case Unchecked:
		if result.Release, err = r.checkRecords(ctx, ref, memo, want); err != nil {
			memo.checkAt = r.clock.Now() // again in the next turn
		}
	case InSync:
	}
	if err != nil {
		return Result{}, err
	}
	r.noteConflicts(ctx, memo, &result)
	if !memo.checkAt.IsZero() {
		result.After = Soonest(result.After, max(memo.checkAt.Sub(r.clock.Now()), time.Millisecond))
	}
	memo.objects.Settle(inputs, ref.Ref, diff.Diff)
	return result, nil
}

// RollBack applies a diff to an older revision as a new one, and remembers what was rolled back, and why.
func (r *Releaser) RollBack(ctx context.Context, ref Ref, memo *Memo, good *render.Rendered, diff Diff, why string) (Result, error) {
	failed := ref.Current
	diff.State = Outdated
	diff.description = fmt.Sprintf("Rollback to %d", failed.GoodRevision)
	diff.rolledBack = &v1alpha1.RolledBack{
		Revision: failed.Revision, InputDigest: failed.InputDigest, SpecDigest: failed.SpecDigest, Message: why,
	}
	return r.Follow(ctx, ref, memo, good, diff, "")
}

// checkRecords records the release again if its record is not the newest one any more. While Helm is at work, it asks for another
// check.
func (r *Releaser) checkRecords(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered) (*v1alpha1.ReleaseStatus, error) {
	all, err := r.records.List(ctx, ref.Ref)
	if err != nil {
		return nil, err
	}
	released, now := ref.Current, r.clock.Now()
	if !records.IsNewest(all, released.Revision) {
		if records.HelmIsAtWork(ref.Ref, all, released.Revision, now) {
			memo.checkAt = now.Add(checkAfter)
			return released, nil
		}
		again := Diff{State: Unchecked, description: "Recorded again", rolledBack: released.RolledBack}
		if released, err = r.upgrade(ctx, ref, memo, want, again); err != nil {
			return nil, err
		}
	}
	if memo.isCheckDue(now) { // else a repair was made just now
		memo.checkAt = time.Time{}
	}
	return released, nil
}

// apply applies a diff and counts repairs.
func (r *Releaser) apply(ctx context.Context, ref Ref, memo *Memo, diff Diff) error {
	done, err := r.objects.Apply(ctx, ref.Ref, &memo.objects, diff.Diff)
	for _, repaired := range memo.backoff.Repaired(r.options.Limits, r.clock.Now(), diff.State == Drifted, done) {
		r.options.Metrics.repairs.WithLabelValues(repaired.Key.Kind).Inc()
	}
	return err
}

// upgrade writes a record, applies, and marks the record as deployed. A first install is an upgrade from nothing.
//
// Of several objects that run, all or none may change, so an upgrade of more than one is rehearsed. A first install is tried
// without, to save a request for each object; once it was rejected, it is rehearsed.
func (r *Releaser) upgrade(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered, diff Diff) (*v1alpha1.ReleaseStatus, error) {
	attempt, err := r.records.Prepare(ctx, ref.Ref, ref.Current, diff.State == Unchecked)
	if err != nil {
		return nil, err
	}
	if !diff.rehearsed && (ref.Rejected || diff.State == Outdated && len(diff.Apply) > 1) {
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
	if err := r.records.Finish(ctx, attempt, diff.description); err != nil {
		return nil, err
	}
	if diff.State != Unchecked && (attempt.MetHelm || diff.ByHelm()) {
		memo.wantCheck(r.clock.Now()) // Helm may not have written its record yet
	}
	return releasedAs(ref, attempt.Record, want, diff), nil
}

// releasedAs returns the status of a release after an upgrade. The good revision and, of the same content, the generation stay.
func releasedAs(ref Ref, record *records.Record, want *render.Rendered, diff Diff) *v1alpha1.ReleaseStatus {
	released := &v1alpha1.ReleaseStatus{
		Name: ref.Name, Revision: record.Revision, InputDigest: want.Digest, SpecDigest: want.SpecDigest,
		RecordDigest: record.Digest(), RolledBack: diff.rolledBack,
	}
	if last := ref.Current; last != nil {
		released.GoodRevision, released.GoodRecordDigest = last.GoodRevision, last.GoodRecordDigest
		if last.InputDigest == want.Digest {
			released.Generation = last.Generation
		}
	}
	return released
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
	r.countConflicts(memo, len(result.Conflicts))
}

func (r *Releaser) countConflicts(memo *Memo, now int) {
	r.options.Metrics.conflicts.Add(float64(now - memo.conflicts))
	memo.conflicts = now
}

// Forget ends what the metrics count for a release that is no longer worked on.
func (r *Releaser) Forget(memo *Memo) { r.countConflicts(memo, 0) }

// Current returns what the newest revision was made of, or nil if its record is gone or was modified. It costs a request.
func (r *Releaser) Current(ctx context.Context, ref Ref) (*render.Rendered, error) {
	content, err := r.read(ctx, ref, ref.Current.Revision, ref.Current.RecordDigest)
	if content != nil {
		content.Digest, content.SpecDigest = ref.Current.InputDigest, ref.Current.SpecDigest
	}
	return content, err
}

// Good returns the same of the newest revision with which the server was ready.
func (r *Releaser) Good(ctx context.Context, ref Ref) (*render.Rendered, error) {
	return r.read(ctx, ref, ref.Current.GoodRevision, ref.Current.GoodRecordDigest)
}

// read believes only a record whose digest is in the status: anyone who can write Secrets, but not the status, could otherwise
// have the operator apply what the policies never saw.
func (r *Releaser) read(ctx context.Context, ref Ref, revision int, digest string) (*render.Rendered, error) {
	record, err := r.records.Get(ctx, ref.Ref, revision)
	if err != nil || record == nil || digest == "" || record.Digest() != digest {
		return nil, client.IgnoreNotFound(err)
	}
	values := map[string]any{}
	if err := json.Unmarshal(record.Content.Config, &values); err != nil {
		return nil, fmt.Errorf("decoding the values of a release record: %w", err)
	}
	return render.Read(record.Content.Manifest, values)
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
