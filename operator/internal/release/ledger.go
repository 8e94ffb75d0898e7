// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// ledger remembers what this process wrote last, because the informers hear of it later. Without it a reconcile right
// after a write would do the same again. It is lost on a restart, when the informers are filled anew.
type ledger struct {
	mu      sync.Mutex
	servers map[client.ObjectKey]*page
}

type page struct {
	uid        types.UID // a server of the same name that comes later starts a new page
	release    *v1alpha1.ReleaseStatus
	objects    map[objectKey]writing
	order      *order
	unreviewed unreviewed
}

// unreviewed is when Helm may have changed records that were not looked at since: for the first time, and for the last. Zero: never.
type unreviewed struct{ since, last time.Time }

// writing is what the API server answered to a write.
type writing struct {
	uid             types.UID
	resourceVersion string
	hash            string
	mark            mark
	// altered says that admission made something else of what was written.
	altered bool
	// pruned says that the object was deleted.
	pruned bool
	at     time.Time
}

func newLedger() *ledger { return &ledger{servers: map[client.ObjectKey]*page{}} }

func (l *ledger) forget(key client.ObjectKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.servers, key)
}

// page must be called with the lock held.
func (l *ledger) page(server *v1alpha1.JupyterServer) *page {
	key := client.ObjectKeyFromObject(server)
	p := l.servers[key]
	if p == nil || p.uid != server.UID {
		p = &page{uid: server.UID}
		l.servers[key] = p
	}
	return p
}

func (l *ledger) release(server *v1alpha1.JupyterServer) *v1alpha1.ReleaseStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.page(server).release
}

func (l *ledger) setRelease(server *v1alpha1.JupyterServer, r v1alpha1.ReleaseStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.page(server).release = &r
}

func (l *ledger) object(server *v1alpha1.JupyterServer, key objectKey) (writing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.page(server).objects[key]
	return w, ok
}

func (l *ledger) setObject(server *v1alpha1.JupyterServer, key objectKey, w writing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.page(server)
	if p.objects == nil {
		p.objects = map[objectKey]writing{}
	}
	p.objects[key] = w
}

func (l *ledger) forgetObject(server *v1alpha1.JupyterServer, key objectKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.page(server)
	delete(p.objects, key)
	if len(p.objects) == 0 {
		p.objects = nil // an empty map keeps its room
	}
}

func (l *ledger) orderOf(server *v1alpha1.JupyterServer) (order, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.page(server).order
	if was == nil {
		return order{}, false
	}
	return *was, true
}

func (l *ledger) setOrder(server *v1alpha1.JupyterServer, is order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.page(server).order = &is
}

func (l *ledger) unreviewed(server *v1alpha1.JupyterServer) unreviewed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.page(server).unreviewed
}

// wantReview remembers that the records are to be looked at.
func (l *ledger) wantReview(server *v1alpha1.JupyterServer, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := &l.page(server).unreviewed
	if wanted.since.IsZero() {
		wanted.since = at
	}
	wanted.last = at
}

// setReviewed remembers that the records were looked at. That counts for what was done before a time.
func (l *ledger) setReviewed(server *v1alpha1.JupyterServer, before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := &l.page(server).unreviewed
	if wanted.last.After(before) {
		wanted.since = wanted.last
		return
	}
	*wanted = unreviewed{}
}
