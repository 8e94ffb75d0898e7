// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Act does what an observation asks for, and returns the release as it is then, and after what time to look again (zero: no need).
// On an error nothing of what was applied is taken back: the next Act goes on where this one stopped.
func (e *Engine) Act(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, obs Observation) (*v1alpha1.ReleaseStatus, time.Duration, error) {
	switch obs.State {
	case InSync:
		return e.Released(server), obs.LookAgain, nil
	case Drifted:
		e.written.wantReview(server, e.clock.Now())
		if err := e.converge(ctx, server, obs); err != nil || !unreported(server) {
			return dueFor(e.Released(server), true), reviewAfter, err
		}
		return e.review(ctx, server, rendered)
	case Repaired:
		return e.review(ctx, server, rendered)
	default:
		released, err := e.upgrade(ctx, server, rendered, obs, "Applied", nil)
		return released, max(0, e.untilReview(server)), err
	}
}

// upgrade writes a record, applies, and marks the record as deployed, with a description for `helm history`. A first install is an
// upgrade from nothing. Back is what was rolled back, if the release is to remember that.
func (e *Engine) upgrade(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, obs Observation, description string, back *v1alpha1.RolledBack) (*v1alpha1.ReleaseStatus, error) {
	history := e.history(ctx, server)
	last := e.Released(server)
	revision, err := history.next(last)
	if err == nil && obs.State == Repaired {
		revision, err = history.afterLatest(revision) // somebody else's may be newer
	}
	if err != nil {
		return nil, err
	}
	if careful(server, obs) {
		if err := e.rehearse(ctx, server, obs); err != nil {
			return nil, err
		}
	}
	record, err := history.begin(revision, rendered)
	if err != nil {
		return nil, err
	}
	if err := e.converge(ctx, server, obs); err != nil {
		if obs.State == Absent {
			e.undo(ctx, server, obs, err)
		}
		history.fail(record, err)
		return nil, err
	}
	released := v1alpha1.ReleaseStatus{
		Name: record.Name, Revision: record.Version, InputDigest: rendered.Digest, SpecDigest: rendered.SpecDigest,
		RecordDigest: recordDigest(record), RolledBack: back,
	}
	if last != nil {
		released.GoodRevision, released.GoodRecordDigest = last.GoodRevision, last.GoodRecordDigest
	}
	if last != nil && last.InputDigest == rendered.Digest {
		released.Generation = last.Generation
	}
	if err := history.finish(record, description); err != nil {
		return nil, err
	}
	if metHelm := history.adopted || obs.byHelm(); metHelm && obs.State != Repaired { // it may not have written its record yet
		e.written.wantReview(server, e.clock.Now())
		released.ReviewDue = true
	}
	e.written.setRelease(server, released)
	return &released, nil
}

// careful says whether to rehearse. An upgrade changes something that runs: where several objects differ, all or none of them may
// change. A first install is tried without, to save a request for every object; when something was refused, the next try is rehearsed.
func careful(server *v1alpha1.JupyterServer, obs Observation) bool {
	return obs.State == OutOfSync && len(obs.Apply) > 1 || meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionStalled)
}

// rehearse asks the API server what it would say to every object, so that a refusal of one changes none.
func (e *Engine) rehearse(ctx context.Context, server *v1alpha1.JupyterServer, obs Observation) error {
	return together(obs.Apply, func(change Change) error {
		_, err := e.applyAs(ctx, server, change, client.DryRunAll)
		return err
	})
}

// Rehearse asks the API server what it would say to an upgrade of a server that was released, and changes nothing.
func (e *Engine) Rehearse(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered) error {
	obs, err := e.Observe(ctx, server, rendered)
	if err != nil || obs.State == Absent {
		return err
	}
	return e.rehearse(ctx, server, obs)
}

// together does something about all changes at once, and returns the error of the first of them that fails. Others are not
// interrupted: of an interrupted request nobody knows what came of it.
func together(changes []Change, do func(Change) error) error {
	errs := make([]error, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		all.Go(func() { errs[i] = do(change) })
	}
	all.Wait()
	return cmp.Or(errs...)
}

// undo takes back what a first install made before the API server refused one of its objects, or somebody else's was in
// the way. It is best effort: what stays is ours, and the next install takes it up. A claim stays in any case: the
// operator has no right to delete claims, so that no fault of it can cost anybody's files.
func (e *Engine) undo(ctx context.Context, server *v1alpha1.JupyterServer, obs Observation, cause error) {
	var conflict *ConflictError
	var refused *ApplyError
	if !errors.As(cause, &conflict) && (!errors.As(cause, &refused) || !refused.Refused()) {
		return
	}
	for _, change := range obs.Apply {
		made, ok := e.written.object(server, keyOf(change.Object))
		if change.live != nil || !ok || made.pruned || change.Object.GetKind() == claimKind {
			continue
		}
		object := metadataOf(change.Object.GroupVersionKind())
		object.SetNamespace(server.Namespace)
		object.SetName(change.Object.GetName())
		object.SetUID(made.uid)
		_ = e.prune(ctx, server, object)
	}
}

// converge applies what differs and deletes what is rendered no more. The pod comes last: it would wait, with a growing delay, for
// what it mounts.
func (e *Engine) converge(ctx context.Context, server *v1alpha1.JupyterServer, obs Observation) error {
	var first, pods []Change
	for _, change := range obs.Apply {
		if change.Object.GetKind() == "StatefulSet" {
			pods = append(pods, change)
			continue
		}
		first = append(first, change)
	}
	for _, changes := range [][]Change{first, pods} {
		err := together(changes, func(change Change) error {
			if err := e.apply(ctx, server, change); err != nil {
				return err
			}
			e.repaired(server, obs.State, keyOf(change.Object), change.hash)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, object := range obs.Prune {
		if err := e.prune(ctx, server, object); err != nil {
			return err
		}
		e.repaired(server, obs.State, keyOf(object), "")
	}
	if obs.LetGo == nil {
		return nil
	}
	if err := e.letGo(ctx, server, obs.LetGo); err != nil {
		return err
	}
	e.repaired(server, obs.State, keyOf(obs.LetGo), "")
	return nil
}
