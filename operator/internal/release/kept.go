// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Kept is what the newest release of a server was made of, by its record: what is in the cluster, where the spec renders to
// something else that is not to be applied. It costs a request. Nil: the record is gone, or somebody has changed it.
func (e *Engine) Kept(ctx context.Context, server *v1alpha1.JupyterServer) (*render.Rendered, error) {
	released := e.Released(server)
	if released == nil {
		return nil, nil
	}
	kept, err := e.recorded(ctx, server, released.Revision, released.RecordDigest)
	if kept == nil || err != nil {
		return nil, err
	}
	kept.Digest, kept.SpecDigest = released.InputDigest, released.SpecDigest
	return kept, nil
}

// recorded is what a revision was made of, but for its digests. Nil: the record is gone, or is not the one of this digest any more.
func (e *Engine) recorded(ctx context.Context, server *v1alpha1.JupyterServer, revision int, digest string) (*render.Rendered, error) {
	record, err := e.history(ctx, server).read(revision)
	if errors.Is(err, errNoRecord) {
		return nil, nil
	}
	if record == nil || err != nil || digest == "" || recordDigest(record) != digest {
		return nil, err
	}
	return render.Read(record.Manifest, record.Config)
}

// Good is what the newest revision was made of with which the server was ready, where that is not the newest of all. Nil: there is
// none to go back to, or its record is gone, or somebody has changed it.
func (e *Engine) Good(ctx context.Context, server *v1alpha1.JupyterServer) (*render.Rendered, error) {
	released := e.Released(server)
	if released == nil || released.GoodRevision == 0 || released.GoodRevision == released.Revision {
		return nil, nil
	}
	return e.recorded(ctx, server, released.GoodRevision, released.GoodRecordDigest)
}

// RollBack makes a new revision of what Good returned, and remembers in the release what was taken back, and why.
func (e *Engine) RollBack(ctx context.Context, server *v1alpha1.JupyterServer, good *render.Rendered, why string) (*v1alpha1.ReleaseStatus, error) {
	failed := e.Released(server)
	obs, err := e.Observe(ctx, server, good)
	if err != nil {
		return nil, err
	}
	return e.upgrade(ctx, server, good, obs, fmt.Sprintf("Rollback to %d", failed.GoodRevision), &v1alpha1.RolledBack{
		Revision: failed.Revision, InputDigest: failed.InputDigest, SpecDigest: failed.SpecDigest, Message: why,
	})
}

// Drop deletes the record of a revision that is older than those that are kept, and was kept because it was good.
func (e *Engine) Drop(ctx context.Context, server *v1alpha1.JupyterServer, revision int) error {
	if released := e.Released(server); revision == 0 || released == nil || revision > released.Revision-keepRevisions {
		return nil
	}
	return e.history(ctx, server).drop(revision)
}
