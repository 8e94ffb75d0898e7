// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A client that keeps changing objects must not keep the records from being checked.
func TestCheckIsNotPostponed(t *testing.T) {
	var memo Memo
	began := time.Now()
	now := began
	for !memo.isCheckDue(now) {
		if now.Sub(began) > checkAfter {
			t.Fatal("the records are not checked in time")
		}
		memo.wantCheck(now)
		now = now.Add(checkAfter / 4)
	}
}

func TestConflictsAreCountedOnce(t *testing.T) {
	r := &Releaser{options: Options{Metrics: NewMetrics(nil)}}
	alice, bob := &Memo{}, &Memo{}
	steps := []struct {
		reason string
		step   func()
		want   float64
	}{
		{"a conflict", func() { r.countConflicts(alice, 1) }, 1},
		{"the same one in the next turn", func() { r.countConflicts(alice, 1) }, 1},
		{"another server's", func() { r.countConflicts(bob, 2) }, 3},
		{"one is over", func() { r.countConflicts(bob, 1) }, 2},
		{"a server is forgotten", func() { r.Forget(alice) }, 1},
		{"it is forgotten again", func() { r.Forget(alice) }, 1},
	}
	for _, step := range steps {
		step.step()
		if got := testutil.ToFloat64(r.options.Metrics.conflicts); got != step.want {
			t.Errorf("%s: %v, want %v", step.reason, got, step.want)
		}
	}
}
