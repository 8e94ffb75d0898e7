// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/records"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// checkAfter is how long after a repair, or an upgrade that met Helm's traces, the records are checked once. A `helm uninstall`
// or `helm rollback` changes objects, which informers show, and last of all records, which they do not.
const checkAfter = objects.SettleTime

// recordCheck is when the records are to be checked. The zero value is never. It is not persisted: if the operator ends before,
// `helm list` is wrong until the next change.
type recordCheck struct{ due time.Time }

func (c *recordCheck) isDue() bool { return !c.due.IsZero() }

func (c *recordCheck) isDueAt(now time.Time) bool { return c.isDue() && !now.Before(c.due) }

// left returns how long until the check. Zero: there is none.
func (c *recordCheck) left(now time.Time) time.Duration {
	if !c.isDue() {
		return 0
	}
	return max(c.due.Sub(now), time.Millisecond)
}

// want asks for a check. One that is under way is not postponed.
func (c *recordCheck) want(now time.Time) {
	if c.isDue() {
		return
	}
	c.due = now.Add(checkAfter)
}

// checkRecords records the release again if its record is not the newest one any more. While Helm is at work, it asks for another
// check.
func (r *Releaser) checkRecords(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered) (*v1alpha1.ReleaseStatus, error) {
	all, err := r.records.List(ctx, ref.Ref)
	if err != nil {
		return nil, err
	}
	released, now := ref.Current, r.clock.Now()
	switch {
	case records.IsNewest(all, released.Revision):
	case records.HelmIsAtWork(ref.Ref, all, released.Revision, now):
		memo.check.due = now.Add(checkAfter)
		return released, nil
	default:
		if released, err = r.upgrade(ctx, ref, memo, want, Diff{State: Unchecked}, revision{"Recorded again", released.RolledBack}); err != nil {
			return nil, err
		}
	}
	if memo.check.isDueAt(now) { // else a repair was made just now
		memo.check = recordCheck{}
	}
	return released, nil
}
