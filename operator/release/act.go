package release

import (
	"context"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
)

// Act does what an observation asks for, and returns the release as it is then. On an error nothing of what was applied
// is taken back: the next Act goes on where this one stopped.
func (e *Engine) Act(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, obs Observation) (*v1alpha1.ReleaseStatus, error) {
	switch obs.State {
	case InSync:
		return e.Released(server), nil
	case Drifted:
		return e.Released(server), e.converge(ctx, server, obs)
	default:
		return e.upgrade(ctx, server, rendered, obs)
	}
}

// upgrade writes a record, applies, and marks the record as deployed. A first install is an upgrade from nothing.
func (e *Engine) upgrade(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, obs Observation) (*v1alpha1.ReleaseStatus, error) {
	history := e.history(ctx, server)
	record, err := history.begin(e.Released(server), rendered)
	if err != nil {
		return nil, err
	}
	if err := e.converge(ctx, server, obs); err != nil {
		history.fail(record, err)
		return nil, err
	}
	if err := history.finish(record); err != nil {
		return nil, err
	}
	released := v1alpha1.ReleaseStatus{Name: record.Name, Revision: record.Version, InputDigest: rendered.Digest}
	e.written.setRelease(server, released)
	return &released, nil
}

// converge applies what differs and deletes what is rendered no more.
func (e *Engine) converge(ctx context.Context, server *v1alpha1.JupyterServer, obs Observation) error {
	for _, change := range obs.Apply {
		if err := e.apply(ctx, server, change); err != nil {
			return err
		}
	}
	for _, object := range obs.Prune {
		if err := e.prune(ctx, server, object); err != nil {
			return err
		}
	}
	return nil
}
