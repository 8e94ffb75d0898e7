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

// Cluster finds what the rules want to know of a cluster.
type Cluster struct {
	// Informed reads from informers that Index was called for, so that a question costs no request.
	Informed client.Reader
	// Live reads from the API server.
	Live client.Reader
	// Reservations are set where servers are let have routes, not just judged: whoever asks for the routes of others reserves
	// its own, if they are free. Nil: nothing is reserved.
	Reservations *Reservations
}

// NamespaceObject is what namespaces are read as: their metadata. Give it to the informers.
func NamespaceObject() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(namespaceKind)
	return o
}

var namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")

// Namespace is what the rules know of a namespace. Whoever applies a namespace and a server in one go is faster than the
// informers: the API server is asked then.
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
	// atIndex is the informers' index of what is reached exactly at a route.
	atIndex = "route"
	// belowIndex is the informers' index of what is reached below a route.
	belowIndex = "above-route"
)

// Index registers what Cluster looks things up by: servers by the routes of their specs, and their Ingresses by those that
// are in force. Looking at every server of a host would take longer than the rules do.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range []client.Object{&v1alpha1.JupyterServer{}, &networkingv1.Ingress{}} {
		exactly := func(route policies.Route) []string { return []string{at(route)} }
		for index, keys := range map[string]func(policies.Route) []string{atIndex: exactly, belowIndex: above} {
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

// at is the key of a route. A host is the same in capitals, and a path with a slash at its end.
func at(route policies.Route) string {
	return strings.ToLower(route.Host) + "/" + strings.Trim(route.Path, "/")
}

// above are the keys of all that a route lies below.
func above(route policies.Route) []string {
	host, path := strings.ToLower(route.Host)+"/", strings.Trim(route.Path, "/")
	var keys []string
	for path != "" {
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
		keys = append(keys, host+path)
	}
	return keys
}

// Routes is for Case.Routes: it finds the routes of others at, above and below those at which a server is reached.
//
// When two servers want one route, only one may be refused. The one that is reached there stays; among those that are not yet,
// or both are, the older one. A reservation counts like an Ingress. Whoever asks keeps or gives back what it reserved (Reservations).
func (c Cluster) Routes(server *v1alpha1.JupyterServer) func(context.Context, []policies.Route) ([]policies.Route, error) {
	return func(ctx context.Context, own []policies.Route) ([]policies.Route, error) {
		defer c.Reservations.lock()() // nobody else may reserve between the look-up and what follows from it
		var routes []policies.Route
		free := true
		for _, route := range own {
			others, err := c.inTheWay(ctx, server, route)
			if err != nil {
				return nil, err
			}
			free = free && !slices.ContainsFunc(others, func(other policies.Route) bool { return at(other) == at(route) })
			routes = append(routes, others...)
		}
		if free {
			c.Reservations.reserve(server, own)
		}
		return routes, nil
	}
}

// inTheWay are the routes of others that come before one of a server.
func (c Cluster) inTheWay(ctx context.Context, server *v1alpha1.JupyterServer, route policies.Route) ([]policies.Route, error) {
	ingresses, err := near[networkingv1.Ingress](ctx, c.Informed, &networkingv1.IngressList{}, route)
	if err != nil {
		return nil, err
	}
	key := client.ObjectKeyFromObject(server)
	reserved, err := c.reserved(ctx, route)
	if err != nil {
		return nil, err
	}
	isServer := func(other *v1alpha1.JupyterServer) bool { return client.ObjectKeyFromObject(other) == key }
	holds := slices.ContainsFunc(reserved, isServer) ||
		slices.ContainsFunc(ingresses, func(i *networkingv1.Ingress) bool { return ownerOf(i) == key && isAt(i, route) })
	var out []policies.Route
	for _, other := range reserved {
		if !isServer(other) && (!holds || isOlder(other, server)) {
			out = append(out, named(client.ObjectKeyFromObject(other), []policies.Route{route})...)
		}
	}
	held := map[client.ObjectKey]bool{}
	for _, ingress := range ingresses {
		other := ownerOf(ingress)
		if other == key {
			continue
		}
		found := &v1alpha1.JupyterServer{}
		err := c.Informed.Get(ctx, other, found)
		if apierrors.IsNotFound(err) {
			continue // it is gone, and this goes, too
		}
		if err != nil {
			return nil, fmt.Errorf("reading the JupyterServer %s: %w", other, err)
		}
		held[other] = true
		if !holds || isOlder(found, server) {
			out = append(out, named(other, routesOf(ingress))...)
		}
	}
	if holds {
		return out, nil
	}
	servers, err := near[v1alpha1.JupyterServer](ctx, c.Informed, &v1alpha1.JupyterServerList{}, route)
	if err != nil {
		return nil, err
	}
	for _, other := range servers {
		name := client.ObjectKeyFromObject(other)
		if other.DeletionTimestamp != nil {
			continue // it goes nowhere any more, and no rule looks at its spec
		}
		if name != key && !held[name] && isOlder(other, server) && !isRefused(other) && !staysElsewhere(other) {
			out = append(out, named(name, routesOf(other))...)
		}
	}
	return out, nil
}

// reserved are the servers that hold exactly a route.
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

// ownerOf is the server that an Ingress belongs to.
func ownerOf(ingress *networkingv1.Ingress) client.ObjectKey {
	return client.ObjectKey{Namespace: ingress.Namespace, Name: ingress.Labels[v1alpha1.ServerLabel]}
}

func isAt(o client.Object, route policies.Route) bool {
	return slices.ContainsFunc(routesOf(o), func(r policies.Route) bool { return at(r) == at(route) })
}

// isOlder says whether one server was there before another one. One that is just being made was not there before any.
func isOlder(one, other *v1alpha1.JupyterServer) bool {
	switch {
	case other.CreationTimestamp.IsZero() || one.CreationTimestamp.Before(&other.CreationTimestamp):
		return true
	case other.CreationTimestamp.Before(&one.CreationTimestamp):
		return false
	}
	return one.Namespace+"/"+one.Name < other.Namespace+"/"+other.Name
}

// isRefused says whether the rules refuse a server, so that it will not be reached where it wants to.
func isRefused(server *v1alpha1.JupyterServer) bool {
	return meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant)
}

// staysElsewhere says whether a server was released at another route than its spec wants, and cannot go there.
func staysElsewhere(server *v1alpha1.JupyterServer) bool {
	blocked := server.Status.ObservedGeneration == server.Generation && meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionStalled)
	is, err := url.Parse(server.Status.URL)
	if !blocked || server.Status.Release == nil || err != nil {
		return false
	}
	here := policies.Route{Host: is.Hostname(), Path: is.Path}
	return !isAt(server, here)
}

func named(key client.ObjectKey, routes []policies.Route) []policies.Route {
	for i := range routes {
		routes[i].Namespace, routes[i].Name = key.Namespace, key.Name
	}
	return routes
}

// Near are the servers whose specs want routes at, above and below those of a JupyterServer or an Ingress: those that may be
// free to go on when it goes away. They are the informers' own and must not be changed.
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

// near lists what is at, above and below a route. What it returns is the informers' own and must not be changed.
func near[T any](ctx context.Context, reader client.Reader, list client.ObjectList, route policies.Route) ([]*T, error) {
	var found []*T
	lookups := []client.MatchingFields{{belowIndex: at(route)}, {atIndex: at(route)}}
	for _, key := range above(route) {
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
