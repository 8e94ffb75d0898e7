// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// verdictLife is how long a verdict about a server that does not change is believed. Other servers count for some rules, and nothing
// wakes those that are only warned about them.
const verdictLife = 10 * time.Minute

// settled is what came of the last turn in which a server was brought in order. While what it is made of is the same, and the engine
// finds its objects as they were, it is neither rendered nor judged again.
type settled struct {
	inputs   string
	revision int
	released string // digest
	judged   judged
	kept     keeping
	url      string
	at       time.Time
}

// inputs is a digest of all that the objects of a server and the verdict about it follow from, but for the routes of others.
func (r *Reconciler) inputs(ctx context.Context, server *v1alpha1.JupyterServer, refs render.References) (string, error) {
	namespace, err := r.Cluster.Namespace(ctx, server.Namespace)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal([]any{server.UID, server.Generation, server.Labels, server.Annotations, refs, namespace, r.Judge.Version()})
	if err != nil {
		return "", fmt.Errorf("digesting what the server is made of: %w", err)
	}
	return digest(raw), nil
}

// isSettled says whether there is nothing to do, and what came of it when there last was.
func (r *Reconciler) isSettled(ctx context.Context, server *v1alpha1.JupyterServer, inputs string, out *outcome) (bool, error) {
	was, ok := r.settled.get(client.ObjectKeyFromObject(server))
	switch {
	case !ok, was.inputs != inputs, r.Clock.Since(was.at) > verdictLife, out.release == nil,
		was.revision != out.release.Revision, was.released != out.release.InputDigest:
		return false, nil
	case was.kept == keptRunning:
		runs, err := r.jupyterRuns(ctx, server)
		if err != nil || !runs {
			return false, err
		}
	}
	inOrder, unsettled, err := r.Engine.InOrder(ctx, server, inputs)
	if err != nil || !inOrder {
		return false, err
	}
	out.judged, out.kept, out.url = was.judged, was.kept, was.url
	out.lookAgain, out.podChanges = unsettled, unsettled > 0
	return true, nil
}

func (r *Reconciler) settle(server *v1alpha1.JupyterServer, inputs string, out *outcome) {
	r.settled.set(client.ObjectKeyFromObject(server), settled{
		inputs: inputs, revision: out.release.Revision, released: out.release.InputDigest,
		judged: out.judged, kept: out.kept, url: out.url, at: r.Clock.Now(),
	})
}
