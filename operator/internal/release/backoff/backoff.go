// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backoff delays repairs of objects that another client keeps changing.
//
// It is pure: the time and what differs in, what to do now and what waits out. What may not live here: requests, clocks.
package backoff

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

// Limits is how soon an object is repaired that another client changes again and again.
type Limits struct {
	Immediate int           // how many repairs of one object are made without waiting
	First     time.Duration // how long the next one waits; each further one waits twice as long as the one before
	Longest   time.Duration // the longest wait
	Calm      time.Duration // how long after its last repair the history of an object is forgotten; longer than Longest
}

// DefaultLimits repair immediately what a person tries out.
var DefaultLimits = Limits{Immediate: 3, First: 5 * time.Second, Longest: 5 * time.Minute, Calm: 15 * time.Minute}

// longestOpen is the longest wait for a NetworkPolicy, so that opening one again and again gains little.
const longestOpen = 15 * time.Second

// delays returns the waits that follow the immediate repairs of an object of a kind.
func (l Limits) delays(kind string) wait.Backoff {
	longest := l.Longest
	if kind == "NetworkPolicy" {
		longest = min(longest, longestOpen)
	}
	return wait.Backoff{Duration: l.First, Factor: 2, Cap: longest, Steps: 100}
}

// Memo is what this process remembers of the repairs of one release. Losing it makes the first repairs immediate again. One
// goroutine at a time uses it.
type Memo struct{ objects map[objects.Key]*history }

// history is the repairs of one object.
type history struct {
	hash       string // of what was applied; empty for an object that was pruned or released
	repairs    int
	delays     wait.Backoff
	last, next time.Time // no repair before next
	conflict   bool      // the object changed again before that; ends when a delay passes without a change
	source     *objects.Source
}

// Conflict is an object that another client keeps changing.
type Conflict struct {
	Key objects.Key
	// Wait is how long until the object is repaired, or, if it is in order now, until the conflict counts as over.
	Wait   time.Duration
	Change *objects.Change // the repair that waits; nil if the object is in order now, or is to be pruned or released
	Source *objects.Source // where the changes come from; nil if that is not known yet
}

// Active reports whether another client keeps changing an object, so that it has to be looked at even if it is in order.
func (m *Memo) Active() bool {
	for _, h := range m.objects {
		if h.conflict {
			return true
		}
	}
	return false
}

// Hold takes out of a diff what is not to be repaired yet, and returns the conflicts. Content that was not applied before is never
// held.
func (m *Memo) Hold(limits Limits, now time.Time, diff *objects.Diff) []Conflict {
	maps.DeleteFunc(m.objects, func(_ objects.Key, h *history) bool { return now.Sub(h.last) >= limits.Calm })
	if len(m.objects) == 0 {
		m.objects = nil // an empty map keeps its room
		return nil
	}
	differs := map[objects.Key]*objects.Change{}
	diff.Apply = slices.DeleteFunc(diff.Apply, func(change objects.Change) bool {
		key := objects.KeyOf(change.Object)
		differs[key] = &change
		return m.holds(key, change.Hash, now)
	})
	removes := func(object client.Object) bool {
		key := objects.KeyOf(object)
		differs[key] = nil
		return m.holds(key, "", now)
	}
	diff.Prune = slices.DeleteFunc(diff.Prune, removes)
	if diff.Release != nil && removes(diff.Release) {
		diff.Release = nil
	}
	return m.conflicts(now, differs)
}

// holds reports whether an object that differs has to wait.
func (m *Memo) holds(key objects.Key, hash string, now time.Time) bool {
	h := m.objects[key]
	switch {
	case h == nil:
		return false
	case h.hash != hash: // the spec changed
		delete(m.objects, key)
		return false
	}
	waits := now.Before(h.next)
	h.conflict = h.conflict || waits
	return waits
}

func (m *Memo) conflicts(now time.Time, differs map[objects.Key]*objects.Change) []Conflict {
	var found []Conflict
	for key, h := range m.objects {
		change, isDifferent := differs[key]
		if !isDifferent && !now.Before(h.next) {
			h.conflict, h.source = false, nil
		}
		if h.conflict {
			found = append(found, Conflict{Key: key, Change: change, Source: h.source})
		}
	}
	slices.SortFunc(found, func(a, b Conflict) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return found
}

// Repaired counts objects that were written: those that drifted, and those with a history.
func (m *Memo) Repaired(limits Limits, now time.Time, drifted bool, done []objects.Done) (counted []objects.Done) {
	for _, d := range done {
		h := m.objects[d.Key]
		if h == nil && !drifted {
			continue
		}
		if h == nil {
			h = &history{hash: d.Hash, delays: limits.delays(d.Key.Kind)}
			if m.objects == nil {
				m.objects = map[objects.Key]*history{}
			}
			m.objects[d.Key] = h
		}
		counted = append(counted, d)
		h.repairs++
		h.last, h.next = now, now
		if h.repairs >= limits.Immediate {
			h.next = now.Add(h.delays.Step())
		}
	}
	return counted
}

// Note remembers where the changes of a conflict come from, and sets how long it waits from now on.
func (m *Memo) Note(now time.Time, c *Conflict) {
	if h := m.objects[c.Key]; h != nil {
		h.source = c.Source
		c.Wait = max(h.next.Sub(now), time.Millisecond)
	}
}
