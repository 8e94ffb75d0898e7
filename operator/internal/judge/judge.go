// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// RenderError means that the spec cannot be rendered, so there is nothing to evaluate. Its message is for the author of the spec.
type RenderError struct {
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *RenderError) Error() string { return "the spec cannot be rendered: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *RenderError) Unwrap() error { return e.Err }

// policySet is the current policies, or the reason why there are none.
type policySet struct {
	evaluator *policies.Evaluator
	err       error
}

// Judge renders servers and evaluates them against the policies. It is safe for concurrent use.
type Judge struct {
	renderer *render.Renderer
	current  atomic.Pointer[policySet]
	version  atomic.Uint64
	ready    chan struct{} // closed by the first Use or UseNone
	once     sync.Once
}

// New returns a Judge without policies: Ask waits until Use or UseNone is called.
func New(renderer *render.Renderer) *Judge {
	return &Judge{renderer: renderer, ready: make(chan struct{})}
}

// Use makes an evaluator answer all later calls of Ask. Running calls finish with the previous one.
func (j *Judge) Use(evaluator *policies.Evaluator) { j.set(&policySet{evaluator: evaluator}) }

// UseNone makes every call of Ask fail with a *policies.EvaluationError for this reason: without policies nothing may change.
func (j *Judge) UseNone(reason error) { j.set(&policySet{err: reason}) }

func (j *Judge) set(set *policySet) {
	j.current.Store(set)
	j.version.Add(1)
	j.once.Do(func() { close(j.ready) })
}

// Version changes whenever the policies change, so an earlier result may no longer be valid. It is 0 before Use or UseNone is
// called.
func (j *Judge) Version() uint64 { return j.version.Load() }

// Case is an operation on a server to evaluate.
type Case struct {
	// Operation is CREATE or UPDATE. Use CREATE if the previous state is unknown.
	Operation policies.Operation
	// Server is the server as the API server stores it, with defaults.
	Server *v1alpha1.JupyterServer
	// Old is the server before an update.
	Old *v1alpha1.JupyterServer
	// Rendered is the result of rendering Server, if the caller has it already. If nil, Server is rendered.
	Rendered *render.Rendered
	// Namespace is the server's namespace.
	Namespace policies.Namespace
	// User is the user who requests the operation. Only the webhook knows it.
	User policies.User
	// Routes finds the routes of other servers that may conflict with the server's own, which are given by host and path. If nil,
	// there are no other servers.
	Routes func(ctx context.Context, own []policies.Route) ([]policies.Route, error)
}

// Ask evaluates whether a server may be installed or updated. Its errors are a *RenderError, a *policies.EvaluationError, those of
// Case.Routes, or that of a context that ended before Use or UseNone was called.
func (j *Judge) Ask(ctx context.Context, c Case) (policies.Result, error) {
	select {
	case <-j.ready:
	case <-ctx.Done():
		return policies.Result{}, fmt.Errorf("waiting for the policies: %w", context.Cause(ctx))
	}
	set := j.current.Load()
	objects, expected, err := j.objects(c.Server, c.Rendered)
	if err != nil {
		return policies.Result{}, err
	}
	in := policies.Input{
		Operation: c.Operation,
		Object:    c.Server,
		OldObject: c.Old,
		Namespace: c.Namespace,
		User:      c.User,
		Objects:   objects,
		Expected:  expected,
	}
	if c.Old != nil {
		in.RenderOld = func() (objects, expected []*unstructured.Unstructured, err error) { return j.objects(c.Old, nil) }
	}
	if c.Routes != nil {
		if in.Routes, err = c.Routes(ctx, policies.OwnRoutes(objects)); err != nil {
			return policies.Result{}, err
		}
	}
	if set.err != nil {
		return policies.Result{}, &policies.EvaluationError{Err: set.err}
	}
	return set.evaluator.Evaluate(ctx, in)
}

// objects returns the rendered objects of a server with its patches and, if it has any, without them.
func (j *Judge) objects(server *v1alpha1.JupyterServer, rendered *render.Rendered) (objects, expected []*unstructured.Unstructured, err error) {
	if rendered == nil {
		if rendered, err = j.renderer.Render(server, render.References{}); err != nil {
			return nil, nil, &RenderError{err}
		}
	}
	if len(server.Spec.Patches) == 0 {
		return rendered.Objects, nil, nil
	}
	unpatched := server.DeepCopy()
	unpatched.Spec.Patches = nil
	plain, err := j.renderer.Render(unpatched, render.References{})
	if err != nil {
		return nil, nil, &RenderError{err}
	}
	return rendered.Objects, plain.Objects, nil
}
