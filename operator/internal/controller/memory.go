// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/gather"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
)

// memory is what this process remembers of servers between turns. All of it may be lost, and is lost on a restart.
type memory struct {
	mu      sync.Mutex
	servers map[client.ObjectKey]*memo
	dropped func(*memo) // is called for each memo that is forgotten
}

// memo is what is remembered of one server. One goroutine at a time uses it, since a server is never reconciled twice at once.
type memo struct {
	uid types.UID
	// written is the last status that was written, until the informers show it. It is nil if they do.
	written *writtenStatus
	// current is the newest revision, also if the status could not be written.
	current *v1alpha1.ReleaseStatus
	stuck   stuckPod
	gather  gather.Memo
	release release.Memo
}

type writtenStatus struct {
	resourceVersion string
	status          v1alpha1.JupyterServerStatus
}

// of returns the memo of a server. A new server of the same name has a new one.
func (m *memory) of(server *v1alpha1.JupyterServer) *memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(server)
	if known := m.servers[key]; known != nil && known.uid == server.UID {
		return known
	}
	m.drop(key)
	if m.servers == nil {
		m.servers = map[client.ObjectKey]*memo{}
	}
	m.servers[key] = &memo{uid: server.UID}
	return m.servers[key]
}

func (m *memory) forget(key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(key)
}

// drop needs the lock.
func (m *memory) drop(key client.ObjectKey) {
	if known := m.servers[key]; known != nil {
		m.dropped(known)
		delete(m.servers, key)
	}
}

// newest returns the newest revision: that of the status, or a newer one whose status could not be written.
func (m *memo) newest(server *v1alpha1.JupyterServer) *v1alpha1.ReleaseStatus {
	known, shown := m.current, server.Status.Release
	if known != nil && (shown == nil || known.Revision > shown.Revision) {
		return known
	}
	return shown
}

// restoreStatus gives a server of the informers the status that was written last, if the informers have not seen it: a turn in
// between would write the same again.
func (m *memo) restoreStatus(server *v1alpha1.JupyterServer) {
	if m.written == nil {
		return
	}
	order, err := resourceversion.CompareResourceVersion(server.ResourceVersion, m.written.resourceVersion)
	if err != nil || order >= 0 {
		m.written = nil
		return
	}
	server.Status = *m.written.status.DeepCopy()
}

func (m *memo) noteStatus(server *v1alpha1.JupyterServer) {
	m.written = &writtenStatus{server.ResourceVersion, *server.Status.DeepCopy()}
}
