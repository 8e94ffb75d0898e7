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

// Operation is what happens to a server.
type Operation string

const (
	// Create is a new server, and everything else that must stand for itself: the controller's look before it installs.
	Create Operation = "CREATE"
	// Update is a change of a server. What it does not make worse is not refused.
	Update Operation = "UPDATE"
)

// Input is what the rules look at.
type Input struct {
	// Operation is CREATE or UPDATE.
	Operation Operation
	// Object is the server as the API server stores it, with defaults.
	Object *v1alpha1.JupyterServer
	// OldObject is what it was before an update.
	OldObject *v1alpha1.JupyterServer
	// Namespace is the server's.
	Namespace Namespace
	// User is who asks for the operation.
	User User
	// Objects are what the server renders to.
	Objects []*unstructured.Unstructured
	// Expected are what it renders to without spec.patches. May be nil when it has none.
	Expected []*unstructured.Unstructured
	// RenderOld gives Objects and Expected of OldObject. It is asked only when that matters. Without it, or when it fails, an
	// update has to stand for itself, unless it only suspends.
	RenderOld func() (objects, expected []*unstructured.Unstructured, err error)
	// Routes are where servers are reached. The server's own is passed over.
	Routes []Route
}

// Namespace is what rules know of a namespace.
type Namespace struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// User is who asks.
type User struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
}

// Route is where a server is reached.
type Route struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Host      string `json:"host"`
	Path      string `json:"path"`
}

// value is the input as the rules see it. What is missing stays out of it, so that the rules notice.
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
		"operation": string(in.Operation), "namespace": in.Namespace.plain(), "user": in.User.plain(), "routes": plainRoutes(in.nearRoutes()),
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

// valueOf is a value of Go as its JSON says.
func valueOf(value any) (ast.Value, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return ast.ValueFromReader(bytes.NewReader(raw))
}

// plainServer is a server as its JSON says, without what no rule looks at. Null is none.
func plainServer(server *v1alpha1.JupyterServer) (any, error) {
	if server == nil {
		return nil, nil //nolint:nilnil // rules see null
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(slim(server))
}

func (n Namespace) plain() any {
	return map[string]any{"name": n.Name, "labels": plainTexts(n.Labels), "annotations": plainTexts(n.Annotations)}
}

// plainTexts is null for a map that is not there.
func plainTexts(texts map[string]string) any {
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

// slim leaves out what no rule looks at.
func slim(server *v1alpha1.JupyterServer) *v1alpha1.JupyterServer {
	out := &v1alpha1.JupyterServer{TypeMeta: server.TypeMeta, ObjectMeta: server.ObjectMeta, Spec: server.Spec}
	out.ManagedFields = nil
	return out
}

// nearRoutes are those that a rule could find in the way: a host may have thousands of others. It keeps too many rather than
// too few; the rules decide.
func (in Input) nearRoutes() []Route {
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

// OwnRoutes are those of rendered Ingresses: where a server is reached. They have no namespace and no name.
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

// objectsIn are the objects in a list.
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
