// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// memory remembers one thing about each server, in this process only: whatever is in it can be lost, and is lost on a restart.
// Its zero value is ready for use.
type memory[T any] struct {
	mu      sync.Mutex
	servers map[client.ObjectKey]T
}

func (m *memory[T]) get(server client.ObjectKey) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is, ok := m.servers[server]
	return is, ok
}

func (m *memory[T]) set(server client.ObjectKey, is T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.servers == nil {
		m.servers = map[client.ObjectKey]T{}
	}
	m.servers[server] = is
}

func (m *memory[T]) forget(server client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.servers, server)
}
