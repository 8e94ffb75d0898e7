// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package backoff

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

func TestDelays(t *testing.T) {
	limits := Limits{Immediate: 3, First: 5 * time.Second, Longest: time.Minute, Calm: time.Hour}
	tests := []struct {
		reason, kind string
		want         []time.Duration
	}{
		{"each delay is twice the last, up to the longest", "Service", []time.Duration{0, 0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}},
		{"a NetworkPolicy is never left open for long", "NetworkPolicy", []time.Duration{0, 0, 5 * time.Second, 10 * time.Second, 15 * time.Second, 15 * time.Second}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			memo, now := &Memo{}, time.Now()
			key := objects.Key{Kind: test.kind, Name: "alice"}
			for repairs, want := range test.want {
				memo.Repaired(limits, now, true, []objects.Done{{Key: key, Hash: "a"}})
				if got := memo.objects[key].next.Sub(now); got != want {
					t.Errorf("after %d repairs the next waits %s, want %s", repairs+1, got, want)
				}
			}
		})
	}
}

// duel is a server whose objects another client changes.
type duel struct {
	*testing.T
	limits Limits
	now    time.Time
	memo   Memo
}

func newDuel(t *testing.T) *duel {
	t.Helper()
	return &duel{T: t, limits: Limits{Immediate: 2, First: 10 * time.Second, Longest: 30 * time.Second, Calm: time.Minute}, now: time.Now()}
}

// look returns which of the objects that differ are to be applied, and which are in conflict.
func (d *duel) look(hash string, kinds ...string) (apply, conflicts []string) {
	var diff objects.Diff
	for _, kind := range kinds {
		object := &unstructured.Unstructured{}
		object.SetKind(kind)
		object.SetName("alice")
		diff.Apply = append(diff.Apply, objects.Change{Object: object, Hash: hash})
	}
	for _, conflict := range d.memo.Hold(d.limits, d.now, &diff) {
		conflicts = append(conflicts, conflict.Key.Kind)
	}
	for _, change := range diff.Apply {
		apply = append(apply, change.Object.GetKind())
	}
	return apply, conflicts
}

// expect looks, and repairs what is to be applied.
func (d *duel) expect(reason, hash string, differs, apply, conflicts []string) {
	d.Helper()
	gotApply, gotConflicts := d.look(hash, differs...)
	if !slices.Equal(gotApply, apply) || !slices.Equal(gotConflicts, conflicts) {
		d.Errorf("%s: applies %v, conflicts %v; want %v and %v", reason, gotApply, gotConflicts, apply, conflicts)
	}
	for _, kind := range gotApply {
		d.repaired(true, kind, hash)
	}
}

func (d *duel) repaired(drifted bool, kind, hash string) int {
	return len(d.memo.Repaired(d.limits, d.now, drifted, []objects.Done{{Key: objects.Key{Kind: kind, Name: "alice"}, Hash: hash}}))
}

func (d *duel) pass(t time.Duration) { d.now = d.now.Add(t) }

func TestConflict(t *testing.T) {
	d := newDuel(t)
	service, both, none := []string{"Service"}, []string{"Service", "Ingress"}, []string(nil)
	d.expect("the first change", "a", service, service, none)
	d.expect("the second change", "a", service, service, none)
	d.expect("the third one waits, and another object does not", "a", both, []string{"Ingress"}, service)
	d.expect("the conflict lasts while the object is in order", "a", none, none, service)
	d.pass(9 * time.Second)
	d.expect("it still waits", "a", service, none, service)
	d.pass(time.Second)
	d.expect("the delay is over", "a", service, service, service)
	d.pass(19 * time.Second)
	d.expect("the next delay is longer", "a", service, none, service)
	d.expect("other content is not held", "b", service, service, none)
	d.expect("and has a first change again", "b", service, service, none)
	d.expect("and then waits", "b", service, none, service)
	d.pass(10 * time.Second)
	d.expect("a delay without a change ends the conflict", "b", none, none, none)
	d.expect("a later change does not wait", "b", service, service, none)
	d.expect("but the next does", "b", service, none, service)
	d.pass(20 * time.Second)
	d.expect("in order", "b", none, none, none)
	d.pass(40 * time.Second)
	d.expect("calm for long: the history is forgotten", "b", none, none, none)
	d.expect("the first change", "b", service, service, none)
	d.expect("the second change", "b", service, service, none)
	d.expect("the third one waits", "b", service, none, service)
}

func TestRepaired(t *testing.T) {
	d := newDuel(t)
	for range 5 {
		if d.repaired(false, "Service", "a") != 0 {
			t.Error("an upgrade counts as a repair")
		}
	}
	d.expect("upgrades are not repairs", "a", []string{"Service"}, []string{"Service"}, nil)
	if d.repaired(false, "Service", "a") != 1 {
		t.Error("an upgrade that reverts what was reverted before does not count as a repair")
	}
	d.expect("an upgrade that reverts what was reverted before is a repair", "a", []string{"Service"}, nil, []string{"Service"})
}

// A client that keeps making the server the owner of a claim to retain is backed off, too.
func TestConflictOverTheOwnerOfAClaim(t *testing.T) {
	d := newDuel(t)
	claim := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PersistentVolumeClaim"}, ObjectMeta: metav1.ObjectMeta{Name: "alice"}}
	release := func() (wanted bool, conflicts int) {
		diff := objects.Diff{Release: claim}
		conflicts = len(d.memo.Hold(d.limits, d.now, &diff))
		return diff.Release != nil, conflicts
	}
	for range 2 {
		if wanted, _ := release(); !wanted {
			t.Fatal("the first changes are not reverted immediately")
		}
		d.repaired(true, "PersistentVolumeClaim", "")
	}
	if wanted, conflicts := release(); wanted || conflicts != 1 {
		t.Errorf("wanted %t, %d conflicts", wanted, conflicts)
	}
	d.pass(10 * time.Second)
	if wanted, _ := release(); !wanted {
		t.Error("the claim is not released after the delay")
	}
}

func TestNote(t *testing.T) {
	d := newDuel(t)
	service := []string{"Service"}
	d.expect("the first change", "a", service, service, nil)
	d.expect("the second change", "a", service, service, nil)
	var diff objects.Diff
	d.expect("the third one waits", "a", service, nil, service)
	conflicts := d.memo.Hold(d.limits, d.now, &diff)
	if len(conflicts) != 1 || conflicts[0].Source != nil || !d.memo.Active() {
		t.Fatalf("conflicts %+v", conflicts)
	}
	conflicts[0].Source = &objects.Source{Deleted: true}
	d.memo.Note(d.now, &conflicts[0])
	if conflicts[0].Wait != 10*time.Second {
		t.Errorf("waits %s", conflicts[0].Wait)
	}
	if again := d.memo.Hold(d.limits, d.now, &diff); again[0].Source == nil {
		t.Error("the source is asked for in every turn")
	}
}
