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

// A `helm uninstall` or `helm rollback` changes objects, which informers show, and records, which they do not. So the records
// are checked once after a repair, and after an upgrade that met Helm's traces, when Helm should be done: it writes them last.
const (
	// checkAfter is how long after the first repair the records are checked.
	checkAfter = objects.SettleTime
	// helmPatience is how long a record that shows Helm at work is believed.
	helmPatience = 5 * time.Minute
)

// recordCheck is when the records are to be checked. The zero value is never. It is not persisted: if the operator ends before,
// `helm list` is wrong until the next change.
type recordCheck struct {
	due   time.Time
	since time.Time // when the first of the checks that found Helm at work was wanted
}

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
	*c = recordCheck{due: now.Add(checkAfter), since: now}
}

// checkRecords records the release again if its record is not the newest one any more. While Helm is at work, it asks for another
// check.
func (r *Releaser) checkRecords(ctx context.Context, ref Ref, memo *Memo, want *render.Rendered) (*v1alpha1.ReleaseStatus, error) {
	metas, err := r.records.List(ctx, ref.Ref)
	if err != nil {
		return nil, err
	}
	released, now := ref.Current, r.clock.Now()
	switch {
	case records.IsNewest(metas, released.Revision):
	case records.HelmIsAtWork(ref.Ref, metas, released.Revision) && !memo.check.isOver(now):
		memo.check.again(now)
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

// again asks for another check, and remembers when the first one was wanted.
func (c *recordCheck) again(now time.Time) {
	if c.since.IsZero() {
		c.since = now
	}
	c.due = now.Add(checkAfter)
}

// retry asks for a check that failed again, in the next turn.
func (c *recordCheck) retry(now time.Time) {
	c.again(now)
	c.due = now
}

// isOver reports whether Helm had the time to finish.
func (c *recordCheck) isOver(now time.Time) bool {
	return !c.since.IsZero() && now.Sub(c.since) >= helmPatience
}
