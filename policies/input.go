// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// Operation is the operation on a server.
type Operation string

const (
	// Create is a new server, or an evaluation without an old state, such as the controller's before an installation.
	Create Operation = "CREATE"
	// Update is a change of a server. Violations that it does not make worse are not denied.
	Update Operation = "UPDATE"
)

// Input is the input of an evaluation.
type Input struct {
	// Operation is CREATE or UPDATE.
	Operation Operation
	// Object is the server as the API server stores it, with defaults.
	Object *v1alpha1.JupyterServer
	// OldObject is the server before an update.
	OldObject *v1alpha1.JupyterServer
	// Namespace is the server's.
	Namespace Namespace
	// User is the user who requests the operation.
	User User
	// Objects are the rendered objects.
	Objects []*unstructured.Unstructured
	// Expected are the rendered objects without spec.patches. It may be nil if there are none.
	Expected []*unstructured.Unstructured
	// RenderOld returns Objects and Expected of OldObject. It is called only if needed. If it is nil or fails, an update is
	// evaluated like a new server, unless it only suspends.
	RenderOld func() (objects, expected []*unstructured.Unstructured, err error)
	// Routes are the routes of all servers. That of the server itself is ignored.
	Routes []Route
}

// Namespace is the part of a namespace that rules can read.
type Namespace struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// User is the requesting user.
type User struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
}

// Route is the host and path of a server.
type Route struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Host      string `json:"host"`
	Path      string `json:"path"`
}

// value returns the input as a Rego value. Missing parts are left undefined, so that the sentinel is undefined.
func (in Input) value(config [][2]*ast.Term, names names) (ast.Value, error) {
	fields := slices.Clone(config)
	c := converter{names: names}
	add := func(name string, plain any, like ast.Value) (ast.Value, error) {
		value, err := c.value(plain, like)
		fields = append(fields, [2]*ast.Term{names.term(name), ast.NewTerm(value)})
		return value, err
	}
	server, err := plainServer(in.Object)
	if err != nil {
		return nil, err
	}
	old, err := plainServer(in.OldObject)
	if err != nil {
		return nil, err
	}
	object, err := add("object", server, nil)
	if err != nil {
		return nil, err
	}
	if _, err := add("oldObject", old, object); err != nil {
		return nil, err
	}
	for name, plain := range map[string]any{
		"operation": string(in.Operation), "namespace": in.Namespace.plain(), "user": in.User.plain(), "routes": plainRoutes(in.nearbyRoutes()),
	} {
		if _, err := add(name, plain, nil); err != nil {
			return nil, err
		}
	}
	objects, err := add("objects", plainObjects(in.Objects), nil)
	if err != nil {
		return nil, err
	}
	if in.Expected != nil {
		if _, err := add("expected", plainObjects(in.Expected), objects); err != nil {
			return nil, err
		}
	}
	return ast.NewObject(fields...), nil
}

func plainObjects(objects []*unstructured.Unstructured) any {
	plain := make([]any, len(objects))
	for i, object := range objects {
		plain[i] = object.Object
	}
	return plain
}

func field(name string, value ast.Value) [2]*ast.Term {
	return [2]*ast.Term{ast.StringTerm(name), ast.NewTerm(value)}
}

// valueOf converts a Go value by way of JSON.
func valueOf(value any) (ast.Value, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return ast.ValueFromReader(bytes.NewReader(raw))
}

// plainServer converts a server like JSON, without the fields that no rule reads. A nil server is null.
func plainServer(server *v1alpha1.JupyterServer) (any, error) {
	if server == nil {
		return nil, nil //nolint:nilnil // rules see null
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(trimmed(server))
}

func (n Namespace) plain() any {
	return map[string]any{"name": n.Name, "labels": plainStrings(n.Labels), "annotations": plainStrings(n.Annotations)}
}

// plainStrings returns null for a nil map.
func plainStrings(texts map[string]string) any {
	if texts == nil {
		return nil
	}
	return texts
}

func (u User) plain() any {
	if u.Groups == nil {
		return map[string]any{"name": u.Name, "groups": nil}
	}
	return map[string]any{"name": u.Name, "groups": u.Groups}
}

func plainRoutes(routes []Route) any {
	out := make([]any, len(routes))
	for i, r := range routes {
		out[i] = map[string]any{"namespace": r.Namespace, "name": r.Name, "host": r.Host, "path": r.Path}
	}
	return out
}

// trimmed omits the fields that no rule reads.
func trimmed(server *v1alpha1.JupyterServer) *v1alpha1.JupyterServer {
	out := &v1alpha1.JupyterServer{TypeMeta: server.TypeMeta, ObjectMeta: server.ObjectMeta, Spec: server.Spec}
	out.ManagedFields = nil
	return out
}

// nearbyRoutes returns the routes that may conflict, of possibly thousands on a host. It returns too many rather than too few; the
// rules decide.
func (in Input) nearbyRoutes() []Route {
	own := OwnRoutes(in.Objects)
	near := []Route{}
	for _, route := range in.Routes {
		if slices.ContainsFunc(own, func(o Route) bool {
			return strings.EqualFold(o.Host, route.Host) && (strings.HasPrefix(o.Path, route.Path) || strings.HasPrefix(route.Path, strings.TrimRight(o.Path, "/")))
		}) {
			near = append(near, route)
		}
	}
	return near
}

// OwnRoutes returns the routes of rendered Ingresses, without namespace and name.
func OwnRoutes(objects []*unstructured.Unstructured) []Route {
	var own []Route
	for _, object := range objects {
		if object.GetKind() != "Ingress" {
			continue
		}
		spec, _ := object.Object["spec"].(map[string]any)
		for _, rule := range objectsIn(spec["rules"]) {
			host, _ := rule["host"].(string)
			http, _ := rule["http"].(map[string]any)
			for _, entry := range objectsIn(http["paths"]) {
				path, _ := entry["path"].(string)
				own = append(own, Route{Host: host, Path: path})
			}
		}
	}
	return own
}

// objectsIn returns the objects in a list.
func objectsIn(list any) []map[string]any {
	items, _ := list.([]any)
	out := make([]map[string]any, 0, len(items))
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			out = append(out, object)
		}
	}
	return out
}
