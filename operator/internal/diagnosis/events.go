// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// retryPeriod exceeds the intervals at which the kubelet and controllers retry. So a failure that was last seen more than this
// long before another one is over.
const retryPeriod = 5 * time.Minute

// eventsOf returns the events of one object with one of the reasons, oldest first. It matches UIDs: events of a deleted object
// with the same name do not count.
func eventsOf(o Observation, uid types.UID, reasons ...string) []corev1.Event {
	var found []corev1.Event
	for _, e := range o.Events {
		if uid != "" && e.InvolvedObject.UID == uid && slices.Contains(reasons, e.Reason) {
			found = append(found, e)
		}
	}
	// The tie-breakers make the result independent of the order of a list or a cache.
	slices.SortFunc(found, func(a, b corev1.Event) int {
		return cmp.Or(lastSeen(a).Compare(lastSeen(b)), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	return found
}

func podEvents(o Observation, reasons ...string) []corev1.Event {
	return eventsOf(o, o.Pod.UID, reasons...)
}

// newest returns the last of sorted events.
func newest(events []corev1.Event) (corev1.Event, bool) {
	if len(events) == 0 {
		return corev1.Event{}, false
	}
	return events[len(events)-1], true
}

// oldestCurrent picks one of several events that repeat in turn, and the same one each time: of those that are not over, the one
// that was first seen first.
func oldestCurrent(events []corev1.Event) (corev1.Event, bool) {
	last, found := newest(events)
	if !found {
		return corev1.Event{}, false
	}
	current := slices.DeleteFunc(slices.Clone(events), func(e corev1.Event) bool {
		return lastSeen(last).Sub(lastSeen(e)) > retryPeriod
	})
	return slices.MinFunc(current, func(a, b corev1.Event) int {
		return cmp.Or(firstSeen(a).Compare(firstSeen(b)), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	}), true
}

// lastSeen returns the last time of an event of the core API (LastTimestamp) or the events API (EventTime, Series).
func lastSeen(e corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	if e.EventTime.After(last) {
		last = e.EventTime.Time
	}
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	if last.IsZero() {
		last = e.CreationTimestamp.Time
	}
	return last
}

func firstSeen(e corev1.Event) time.Time {
	for _, t := range []time.Time{e.FirstTimestamp.Time, e.EventTime.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return lastSeen(e)
}
