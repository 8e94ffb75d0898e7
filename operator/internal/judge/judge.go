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

// RenderError says that the spec does not render, so that there is nothing to judge. It is for the person who wrote the spec.
type RenderError struct {
	// Err is why.
	Err error
}

// Error implements error.
func (e *RenderError) Error() string { return "the spec cannot be rendered: " + e.Err.Error() }

// Unwrap returns why.
func (e *RenderError) Unwrap() error { return e.Err }

// policySet is the policies that hold, or why there are none.
type policySet struct {
	evaluator *policies.Evaluator
	err       error
}

// Judge renders servers and asks the policies. It is safe for concurrent use.
type Judge struct {
	renderer *render.Renderer
	current  atomic.Pointer[policySet]
	version  atomic.Uint64
	told     chan struct{} // closed when it is known for the first time which policies hold
	tell     sync.Once
}

// New returns a Judge that does not know yet which policies hold: until it is told, questions wait.
func New(renderer *render.Renderer) *Judge {
	return &Judge{renderer: renderer, told: make(chan struct{})}
}

// Use has questions from now on answered by an evaluator. What is being answered meanwhile is answered by the one before.
func (j *Judge) Use(evaluator *policies.Evaluator) { j.hold(&policySet{evaluator: evaluator}) }

// UseNone has every question end in a *policies.EvaluationError with this reason: without policies nothing may change.
func (j *Judge) UseNone(reason error) { j.hold(&policySet{err: reason}) }

func (j *Judge) hold(set *policySet) {
	j.current.Store(set)
	j.version.Add(1)
	j.tell.Do(func() { close(j.told) })
}

// Version changes when other policies hold: an answer that was given before may be another one now. Zero: it is not known yet which
// hold.
func (j *Judge) Version() uint64 { return j.version.Load() }

// Case is what is asked about.
type Case struct {
	// Operation is CREATE or UPDATE. Whoever does not know what was before asks as for CREATE.
	Operation policies.Operation
	// Server is the server as the API server stores it, with defaults.
	Server *v1alpha1.JupyterServer
	// Old is what it was before an update.
	Old *v1alpha1.JupyterServer
	// Rendered is what Server renders to, for those who have it already. Nil: it is rendered.
	Rendered *render.Rendered
	// Namespace is the server's.
	Namespace policies.Namespace
	// User is who asks for the operation. Only the webhook knows.
	User policies.User
	// Routes finds the routes of other servers that may be in the way of those at which the server is reached, which are
	// given by host and path. Nil: there are no others.
	Routes func(ctx context.Context, own []policies.Route) ([]policies.Route, error)
}

// Ask answers whether a server may be installed or updated. Its errors are a *RenderError, a *policies.EvaluationError, those
// of Case.Routes, or that of a context which ended while it was not known yet which policies hold.
func (j *Judge) Ask(ctx context.Context, c Case) (policies.Result, error) {
	select {
	case <-j.told:
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

// objects are what a server renders to, with its patches and, if it has any, without them.
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
