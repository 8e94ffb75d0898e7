// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Reservations remember which servers were let have which routes, for as long as the informers may not show their Ingresses:
// of servers that are made in the same moment, only one may get a route. Nothing has to be kept beyond the process, since the
// informers know all Ingresses when they start.
//
// A server is expected to be worked on by one goroutine at a time. The zero value is ready for use, and a nil one holds nothing.
type Reservations struct {
	// mu is also held while Cluster looks up who is in the way, which reads from informers only.
	mu      sync.Mutex
	servers map[client.ObjectKey]reservation
	holders map[string][]client.ObjectKey // by the key of a route
}

// reservation is what one server holds.
type reservation struct {
	// uid tells a server from another one of its name.
	uid types.UID
	// wanted are the routes that it may have if the rules agree. Nil: it wants none beside those that it has.
	wanted []string
	// released are those at which it was released.
	released []string
}

func (r reservation) held() []string {
	if r.wanted != nil {
		return r.wanted
	}
	return r.released
}

// Keep is for a server that was released at the routes that it reserved.
func (r *Reservations) Keep(server *v1alpha1.JupyterServer) {
	defer r.lock()()
	key := client.ObjectKeyFromObject(server)
	if r == nil || r.servers[key].uid != server.UID || r.servers[key].wanted == nil {
		return
	}
	r.set(key, reservation{uid: server.UID, released: r.servers[key].wanted})
}

// GiveBack is for a server that may not have what it reserved: it holds what it is released at, unless somebody else has that by now.
func (r *Reservations) GiveBack(server *v1alpha1.JupyterServer) {
	defer r.lock()()
	key := client.ObjectKeyFromObject(server)
	if r == nil || r.servers[key].wanted == nil {
		return
	}
	free := slices.DeleteFunc(slices.Clone(r.servers[key].released), func(route string) bool {
		return slices.ContainsFunc(r.holders[route], func(other client.ObjectKey) bool { return other != key })
	})
	r.set(key, reservation{uid: r.servers[key].uid, released: free})
}

// Forget drops what a server holds that is gone.
func (r *Reservations) Forget(key client.ObjectKey) {
	defer r.lock()()
	if r != nil {
		r.set(key, reservation{})
	}
}

// lock returns what unlocks again.
func (r *Reservations) lock() (unlock func()) {
	if r == nil {
		return func() {}
	}
	r.mu.Lock()
	return r.mu.Unlock
}

// reserve replaces what a server wanted before. It needs the lock, as do those below.
func (r *Reservations) reserve(server *v1alpha1.JupyterServer, routes []policies.Route) {
	if r == nil {
		return
	}
	key := client.ObjectKeyFromObject(server)
	next := reservation{uid: server.UID, wanted: []string{}}
	if last := r.servers[key]; last.uid == server.UID {
		next.released = last.released
	}
	for _, route := range routes {
		next.wanted = append(next.wanted, at(route))
	}
	r.set(key, next)
}

func (r *Reservations) set(key client.ObjectKey, next reservation) {
	for _, route := range r.servers[key].held() {
		isKey := func(other client.ObjectKey) bool { return other == key }
		if r.holders[route] = slices.DeleteFunc(r.holders[route], isKey); len(r.holders[route]) == 0 {
			delete(r.holders, route)
		}
	}
	if len(next.held()) == 0 && len(next.released) == 0 {
		delete(r.servers, key)
		return
	}
	if r.servers == nil {
		r.servers, r.holders = map[client.ObjectKey]reservation{}, map[string][]client.ObjectKey{}
	}
	r.servers[key] = next
	for _, route := range next.held() {
		if !slices.Contains(r.holders[route], key) {
			r.holders[route] = append(r.holders[route], key)
		}
	}
}

// at are the servers that hold a route.
func (r *Reservations) at(route policies.Route) []client.ObjectKey {
	if r == nil {
		return nil
	}
	return slices.Clone(r.holders[at(route)])
}

// isOf says whether what is held under the name of a server is held by it, and not by an earlier one.
func (r *Reservations) isOf(server *v1alpha1.JupyterServer) bool {
	return r.servers[client.ObjectKeyFromObject(server)].uid == server.UID
}
