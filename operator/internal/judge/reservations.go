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

// Reservations record which servers were allowed which routes, while the informers may not show their Ingresses yet: of servers
// that are created simultaneously, only one may get a route. They need not be persisted, because the informers know all Ingresses
// when they start.
//
// Only one goroutine at a time may work on a server. The zero value is ready for use, and a nil one reserves nothing.
type Reservations struct {
	// mu is also held while Cluster looks up conflicting routes, which reads only from informers.
	mu      sync.Mutex
	servers map[client.ObjectKey]reservation
	holders map[string][]client.ObjectKey // by the key of a route
}

// reservation is what one server reserved.
type reservation struct {
	// uid distinguishes a server from another one with its name.
	uid types.UID
	// wanted are the routes that the server gets if the rules allow it. It is nil if it wants no other routes than the released ones.
	wanted []string
	// released are the routes of the server's release.
	released []string
}

func (r reservation) held() []string {
	if r.wanted != nil {
		return r.wanted
	}
	return r.released
}

// Keep confirms that a server was released at the routes that it reserved.
func (r *Reservations) Keep(server *v1alpha1.JupyterServer) {
	defer r.lock()()
	key := client.ObjectKeyFromObject(server)
	if r == nil || r.servers[key].uid != server.UID || r.servers[key].wanted == nil {
		return
	}
	r.set(key, reservation{uid: server.UID, released: r.servers[key].wanted})
}

// GiveBack drops the routes that a server did not get. The server keeps its released routes, unless another one took them.
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

// Forget drops the routes of a deleted server.
func (r *Reservations) Forget(key client.ObjectKey) {
	defer r.lock()()
	if r != nil {
		r.set(key, reservation{})
	}
}

// lock returns the function that unlocks.
func (r *Reservations) lock() (unlock func()) {
	if r == nil {
		return func() {}
	}
	r.mu.Lock()
	return r.mu.Unlock
}

// reserve replaces the wanted routes of a server. The caller must hold the lock, as for the methods below.
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
		next.wanted = append(next.wanted, routeKey(route))
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

// at returns the servers that hold a route.
func (r *Reservations) at(route policies.Route) []client.ObjectKey {
	if r == nil {
		return nil
	}
	return slices.Clone(r.holders[routeKey(route)])
}

// isOf reports whether the reservation under a server's name is its own, and not that of a previous server.
func (r *Reservations) isOf(server *v1alpha1.JupyterServer) bool {
	return r.servers[client.ObjectKeyFromObject(server)].uid == server.UID
}
