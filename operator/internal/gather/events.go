// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// eventsLife is how old the events may be that a diagnosis looks at. The API server reads all events of a namespace to find
	// those of one object, so all servers of a namespace share one read.
	eventsLife = 5 * time.Second
	// eventsPage is how many events are read at once.
	eventsPage = 500
)

// sharedEvents are the events of namespaces in which servers start. They are only read when they are needed: an informer of all
// events of a cluster would cost more than it gives. The zero value is ready for use.
type sharedEvents struct {
	mu         sync.Mutex
	namespaces map[string]*namespaceEvents
}

type namespaceEvents struct {
	mu    sync.Mutex // held while they are read, so that they are read once
	read  time.Time
	about map[types.UID][]corev1.Event
}

// of returns the events about some objects of a namespace.
func (s *sharedEvents) of(ctx context.Context, live client.Reader, clk clock.PassiveClock, namespace string, objects []types.UID) ([]corev1.Event, error) {
	shared := s.in(namespace, clk)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if clk.Since(shared.read) > eventsLife {
		about, err := readEvents(ctx, live, namespace)
		if err != nil {
			return nil, err
		}
		shared.read, shared.about = clk.Now(), about
	}
	var found []corev1.Event
	for _, uid := range objects {
		found = append(found, shared.about[uid]...)
	}
	return found, nil
}

// in returns the events of a namespace, and drops those of others that are too old.
func (s *sharedEvents) in(namespace string, clk clock.PassiveClock) *namespaceEvents {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, other := range s.namespaces {
		if name != namespace && other.mu.TryLock() {
			if clk.Since(other.read) > eventsLife {
				delete(s.namespaces, name)
			}
			other.mu.Unlock()
		}
	}
	if s.namespaces == nil {
		s.namespaces = map[string]*namespaceEvents{}
	}
	if s.namespaces[namespace] == nil {
		s.namespaces[namespace] = &namespaceEvents{}
	}
	return s.namespaces[namespace]
}

func readEvents(ctx context.Context, live client.Reader, namespace string) (map[types.UID][]corev1.Event, error) {
	about := map[types.UID][]corev1.Event{}
	options := &client.ListOptions{Namespace: namespace, Limit: eventsPage}
	for {
		list := &corev1.EventList{}
		if err := live.List(ctx, list, options); err != nil {
			return nil, fmt.Errorf("listing events: %w", err)
		}
		for _, event := range list.Items {
			event.ManagedFields = nil
			about[event.InvolvedObject.UID] = append(about[event.InvolvedObject.UID], event)
		}
		if list.Continue == "" {
			return about, nil
		}
		options.Continue = list.Continue
	}
}
