// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"slices"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// replica starts a replica of an operator with leader election.
func (w *world) replica(flags ...string) *operator {
	w.Helper()
	return w.operator(append([]string{"--leader-elect", "--leader-election-namespace=" + w.namespace}, flags...)...)
}

// keepBusy creates and changes servers until it is stopped, so that the leader has writes to make.
func (w *world) keepBusy(servers []string) (stop func()) {
	w.Helper()
	for _, name := range servers {
		w.create(w.namespace, name, nil)
	}
	return w.load(servers)
}

// leads waits until an operator has written an object as the leader.
func (w *world) leads(o *operator) {
	w.Helper()
	w.eventually("leading", o.checkStarted)
	before := len(suite.audit.of(w.T, w.namespace, by(o, toServers)))
	w.eventually("writing", func() error {
		if len(suite.audit.of(w.T, w.namespace, by(o, toServers))) == before {
			return fmt.Errorf("%s does not write", o.user)
		}
		return nil
	})
}

// holders returns the holders of the leases in the test's namespace. The holder of a released lease is "".
func (w *world) holders() []string {
	w.Helper()
	var leases coordinationv1.LeaseList
	if err := suite.client.List(w.ctx, &leases, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, lease := range leases.Items {
		holder := ""
		if lease.Spec.HolderIdentity != nil {
			holder = *lease.Spec.HolderIdentity
		}
		out = append(out, holder)
	}
	return out
}

// checkTurns fails unless leadership changed hands as often as expected without overlap: each request of one operator was answered
// before the first of the next, which acquired the lease in between.
func (w *world) checkTurns(want int) {
	w.Helper()
	writes := suite.audit.of(w.T, w.namespace, func(write) bool { return true })
	slices.SortStableFunc(writes, func(a, b write) int { return a.RequestReceivedTimestamp.Compare(b.RequestReceivedTimestamp) })
	turns, leader, last := 0, "", write{}
	for _, is := range writes {
		if !toServers(is) {
			if is.ResponseStatus.Code < 300 {
				leader = is.User.Username // or it is about to release the lease
			}
			continue
		}
		if is.User.Username != leader {
			w.Errorf("%s was written while %s had the lease", is, leader)
		}
		if is.User.Username != last.User.Username {
			turns++
			if last.StageTimestamp.After(is.RequestReceivedTimestamp) {
				w.Errorf("%s was in flight when %s arrived", last, is)
			}
		}
		if is.User.Username != last.User.Username || is.StageTimestamp.After(last.StageTimestamp) {
			last = is
		}
	}
	if turns != want {
		w.Errorf("the operators took %d turns, want %d", turns, want)
	}
}

func TestKilledLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	first := w.replica()
	stop := w.keepBusy(names(6))
	w.leads(first)
	second := w.replica()
	first.kill()
	if holders := w.holders(); len(holders) != 1 || holders[0] == "" {
		t.Errorf("the lease was released: %q", holders)
	}
	w.leads(second)
	stop()
	w.released(w.namespace)
	w.checkTurns(2)
	w.releasesSound(w.namespace)
}

// A leader that is stopped completes its work before it releases the lease, and only then the next one starts.
func TestStoppedLeaderReleasesTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	first := w.replica()
	stop := w.keepBusy(names(6))
	w.leads(first)
	second := w.replica()
	for i, next := range []*operator{second, first, second} {
		leader := []*operator{first, second}[i%2]
		leader.stop()
		w.leads(next)
		leader.start()
	}
	stop()
	w.released(w.namespace)
	w.checkTurns(4)
	w.releasesSound(w.namespace)
	first.stop()
	second.stop()
	if holders := w.holders(); len(holders) != 1 || holders[0] != "" {
		t.Errorf("the lease is held by %q after all have stopped", holders)
	}
}
