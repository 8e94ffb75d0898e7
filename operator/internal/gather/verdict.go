// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"errors"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Evaluate asks the policies whether a server may be installed, whatever it was before: what is in the cluster must comply by
// itself. Without rendered, the server is rendered without what it refers to, which no rule looks at. Free routes are reserved for
// the server; the caller keeps them or gives them back. An error is worth another try.
func (g *Gatherer) Evaluate(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered) (reconcile.Verdict, *reconcile.Problem, error) {
	namespace, err := g.Cluster.Namespace(ctx, server.Namespace)
	if err != nil {
		return reconcile.Verdict{}, nil, err
	}
	result, err := g.Judge.Ask(ctx, judge.Case{
		Operation: policies.Create,
		Server:    server,
		Rendered:  rendered,
		Namespace: namespace,
		Routes:    g.Cluster.Routes(server),
	})
	var (
		renderFailed *judge.RenderError
		failure      *policies.EvaluationError
	)
	switch {
	case errors.As(err, &renderFailed):
		return reconcile.Verdict{}, reconcile.NewProblem(v1alpha1.ReasonRenderFailed, err.Error()), nil
	case errors.As(err, &failure) && ctx.Err() == nil:
	case err != nil:
		return reconcile.Verdict{}, nil, err
	}
	verdict := reconcile.Verdict{Asked: true, Result: result, Failure: failure}
	return verdict, verdict.Problem(), nil
}
