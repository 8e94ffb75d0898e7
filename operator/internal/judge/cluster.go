// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Cluster finds what the rules need to know of a cluster.
type Cluster struct {
	// Informed reads from the informers that Index registered indexes with, so that a lookup costs no request.
	Informed client.Reader
	// Live reads from the API server.
	Live client.Reader
	// Reservations are set by a caller that installs servers instead of only evaluating them: Routes then reserves the server's own
	// routes if they are free. If nil, nothing is reserved.
	Reservations *Reservations
}

// NamespaceObject returns the object as which namespaces are read: their metadata. The informers must watch it.
func NamespaceObject() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(namespaceKind)
	return o
}

var namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")

// Namespace returns what the rules know of a namespace. It falls back to the API server, because the informers may lag behind a
// client that creates a namespace and a server together.
func (c Cluster) Namespace(ctx context.Context, name string) (policies.Namespace, error) {
	o := NamespaceObject()
	err := c.Informed.Get(ctx, client.ObjectKey{Name: name}, o)
	if apierrors.IsNotFound(err) {
		err = c.Live.Get(ctx, client.ObjectKey{Name: name}, o)
	}
	if err != nil {
		return policies.Namespace{}, fmt.Errorf("reading the namespace %s: %w", name, err)
	}
	return policies.Namespace{Name: name, Labels: o.Labels, Annotations: o.Annotations}, nil
}

const (
	// atIndex is the informers' index by exact route.
	atIndex = "route"
	// belowIndex is the informers' index by the routes above an object's route.
	belowIndex = "above-route"
)

// Index registers the indexes of Cluster: servers by the routes of their specs, and Ingresses by the routes that are in force.
// Comparing with every server of a host would take longer than evaluating the rules.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range []client.Object{&v1alpha1.JupyterServer{}, &networkingv1.Ingress{}} {
		exactly := func(route policies.Route) []string { return []string{routeKey(route)} }
		for index, keys := range map[string]func(policies.Route) []string{atIndex: exactly, belowIndex: keysAbove} {
			err := indexer.IndexField(ctx, kind, index, func(o client.Object) []string {
				var all []string
				for _, route := range routesOf(o) {
					all = append(all, keys(route)...)
				}
				return all
			})
			if err != nil {
				return fmt.Errorf("indexing %T by routes: %w", kind, err)
			}
		}
	}
	return nil
}

func routesOf(o client.Object) []policies.Route {
	switch o := o.(type) {
	case *v1alpha1.JupyterServer:
		return []policies.Route{{Host: o.Spec.Routing.Host, Path: o.Spec.Routing.Path}}
	case *networkingv1.Ingress:
		var routes []policies.Route
		for _, rule := range o.Spec.Rules {
			if rule.HTTP == nil {
				continue
			}
			for _, path := range rule.HTTP.Paths {
				routes = append(routes, policies.Route{Host: rule.Host, Path: path.Path})
			}
		}
		return routes
	}
	return nil
}

// routeKey is the index key of a route. It ignores the case of the host and a trailing slash of the path.
func routeKey(route policies.Route) string {
	return strings.ToLower(route.Host) + "/" + strings.Trim(route.Path, "/")
}

// keysAbove returns the keys of all routes above a route.
func keysAbove(route policies.Route) []string {
	host, path := strings.ToLower(route.Host)+"/", strings.Trim(route.Path, "/")
	var keys []string
	for path != "" {
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
		keys = append(keys, host+path)
	}
	return keys
}

// Routes is for Case.Routes: it finds the routes of other servers at, above and below those of a server.
//
// If two servers want one route, only one may be denied. The server that already has the route keeps it; if none or both have it,
// the older one gets it. A reservation counts like an Ingress. The caller must call Keep or GiveBack of Reservations afterwards.
func (c Cluster) Routes(server *v1alpha1.JupyterServer) func(context.Context, []policies.Route) ([]policies.Route, error) {
	return func(ctx context.Context, own []policies.Route) ([]policies.Route, error) {
		defer c.Reservations.lock()() // makes the lookup and the reservation atomic
		var routes []policies.Route
		free := true
		for _, route := range own {
			others, err := c.conflicting(ctx, server, route)
			if err != nil {
				return nil, err
			}
			free = free && !slices.ContainsFunc(others, func(other policies.Route) bool { return routeKey(other) == routeKey(route) })
			routes = append(routes, others...)
		}
		if free {
			c.Reservations.reserve(server, own)
		}
		return routes, nil
	}
}

// conflicting returns the routes of other servers that have precedence over a route of a server.
func (c Cluster) conflicting(ctx context.Context, server *v1alpha1.JupyterServer, route policies.Route) ([]policies.Route, error) {
	holders, err := c.holders(ctx, server, route)
	if err != nil {
		return nil, err
	}
	key := client.ObjectKeyFromObject(server)
	holds := slices.ContainsFunc(holders, func(h holder) bool { return h.key() == key && isAt(h.routes, route) })
	var out []policies.Route
	exposed := map[client.ObjectKey]bool{}
	for _, h := range holders {
		exposed[h.key()] = exposed[h.key()] || h.exposes
		if h.key() != key && (!holds || isOlder(h.server, server)) {
			out = append(out, withName(h.key(), h.routes)...)
		}
	}
	if holds {
		return out, nil
	}
	waiting, err := c.waiting(ctx, server, route)
	if err != nil {
		return nil, err
	}
	for _, other := range waiting {
		if name := client.ObjectKeyFromObject(other); !exposed[name] {
			out = append(out, withName(name, routesOf(other))...)
		}
	}
	return out, nil
}

// holder is a server that has routes: reserved ones, or those that an Ingress exposes.
type holder struct {
	server  *v1alpha1.JupyterServer
	routes  []policies.Route
	exposes bool
}

func (h holder) key() client.ObjectKey { return client.ObjectKeyFromObject(h.server) }

// holders returns the servers that have routes at, above and below a route, and the server that asks if it has it.
func (c Cluster) holders(ctx context.Context, server *v1alpha1.JupyterServer, route policies.Route) ([]holder, error) {
	reserved, err := c.reserved(ctx, route)
	if err != nil {
		return nil, err
	}
	ingresses, err := near[networkingv1.Ingress](ctx, c.Informed, &networkingv1.IngressList{}, route)
	if err != nil {
		return nil, err
	}
	var out []holder
	for _, other := range reserved {
		out = append(out, holder{server: other, routes: []policies.Route{route}})
	}
	for _, ingress := range ingresses {
		owner, key := server, ownerOf(ingress)
		if key != client.ObjectKeyFromObject(server) {
			owner = &v1alpha1.JupyterServer{}
			err := c.Informed.Get(ctx, key, owner)
			if apierrors.IsNotFound(err) {
				continue // the server is gone, and its Ingress will follow
			}
			if err != nil {
				return nil, fmt.Errorf("reading the JupyterServer %s: %w", key, err)
			}
		}
		out = append(out, holder{server: owner, routes: routesOf(ingress), exposes: true})
	}
	return out, nil
}

// waiting returns the older servers whose specs ask for a route and may still get it.
func (c Cluster) waiting(ctx context.Context, server *v1alpha1.JupyterServer, route policies.Route) ([]*v1alpha1.JupyterServer, error) {
	servers, err := near[v1alpha1.JupyterServer](ctx, c.Informed, &v1alpha1.JupyterServerList{}, route)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(servers, func(other *v1alpha1.JupyterServer) bool {
		isServer := client.ObjectKeyFromObject(other) == client.ObjectKeyFromObject(server)
		return isServer || other.DeletionTimestamp != nil || !isOlder(other, server) || isDenied(other) || staysElsewhere(other)
	}), nil
}

// reserved returns the servers that reserved exactly this route.
func (c Cluster) reserved(ctx context.Context, route policies.Route) ([]*v1alpha1.JupyterServer, error) {
	var found []*v1alpha1.JupyterServer
	for _, key := range c.Reservations.at(route) {
		server := &v1alpha1.JupyterServer{}
		err := c.Informed.Get(ctx, key, server)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading the JupyterServer %s: %w", key, err)
		}
		if err == nil && c.Reservations.isOf(server) {
			found = append(found, server)
		}
	}
	return found, nil
}

// ownerOf returns the server that an Ingress belongs to.
func ownerOf(ingress *networkingv1.Ingress) client.ObjectKey {
	return client.ObjectKey{Namespace: ingress.Namespace, Name: ingress.Labels[v1alpha1.ServerLabel]}
}

func isAt(routes []policies.Route, route policies.Route) bool {
	return slices.ContainsFunc(routes, func(r policies.Route) bool { return routeKey(r) == routeKey(route) })
}

// isOlder reports whether one server was created before another one. A server that is not stored yet is the youngest.
func isOlder(one, other *v1alpha1.JupyterServer) bool {
	switch {
	case other.CreationTimestamp.IsZero() || one.CreationTimestamp.Before(&other.CreationTimestamp):
		return true
	case other.CreationTimestamp.Before(&one.CreationTimestamp):
		return false
	}
	return one.Namespace+"/"+one.Name < other.Namespace+"/"+other.Name
}

// isDenied reports whether the rules deny a server, so that it does not get the routes of its spec.
func isDenied(server *v1alpha1.JupyterServer) bool {
	return meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant)
}

// staysElsewhere reports whether a blocked server was released at another route than that of its spec, and stays there.
func staysElsewhere(server *v1alpha1.JupyterServer) bool {
	blocked := server.Status.ObservedGeneration == server.Generation && meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionStalled)
	current, err := url.Parse(server.Status.URL)
	if !blocked || server.Status.Release == nil || err != nil {
		return false
	}
	here := policies.Route{Host: current.Hostname(), Path: current.Path}
	return !isAt(routesOf(server), here)
}

func withName(key client.ObjectKey, routes []policies.Route) []policies.Route {
	for i := range routes {
		routes[i].Namespace, routes[i].Name = key.Namespace, key.Name
	}
	return routes
}

// Near returns the servers whose specs want routes at, above and below those of a JupyterServer or an Ingress, and which may get
// them when it goes away. They are shared with the informers and must not be changed.
func (c Cluster) Near(ctx context.Context, o client.Object) ([]*v1alpha1.JupyterServer, error) {
	var found []*v1alpha1.JupyterServer
	for _, route := range routesOf(o) {
		servers, err := near[v1alpha1.JupyterServer](ctx, c.Informed, &v1alpha1.JupyterServerList{}, route)
		if err != nil {
			return nil, err
		}
		found = append(found, servers...)
	}
	return found, nil
}

// near lists the objects at, above and below a route. They are shared with the informers and must not be changed.
func near[T any](ctx context.Context, reader client.Reader, list client.ObjectList, route policies.Route) ([]*T, error) {
	var found []*T
	lookups := []client.MatchingFields{{belowIndex: routeKey(route)}, {atIndex: routeKey(route)}}
	for _, key := range keysAbove(route) {
		lookups = append(lookups, client.MatchingFields{atIndex: key})
	}
	for _, lookup := range lookups {
		if err := reader.List(ctx, list, lookup, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("looking up routes: %w", err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, fmt.Errorf("looking up routes: %w", err)
		}
		for _, item := range items {
			if o, ok := any(item).(*T); ok {
				found = append(found, o)
			}
		}
	}
	return found, nil
}
