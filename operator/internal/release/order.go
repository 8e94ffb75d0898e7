// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// order is how the objects of a release looked when there was nothing to do about them. While they look so, and what the server is
// made of is the same, it need not be rendered to know that there still is nothing to do.
type order struct {
	inputs  string
	objects map[objectKey]mark
}

// mark is a digest of what tells whether an object was deleted, replaced or edited: its UID, the digest of what was applied, and
// the fields that are ours. What others do to their fields does not change it.
type mark [16]byte

func (o *ownedObject) mark() mark {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s %t ", o.uid, o.applied, o.byHelm)
	sum.Write(o.fields.raw)
	return mark(sum.Sum(nil)[:16])
}

// Settle remembers that a server which is made of these inputs is in order as observed, after Act has done what was to be done.
// Inputs is a digest of everything that the server's objects and the verdict about them follow from.
func (e *Engine) Settle(server *v1alpha1.JupyterServer, inputs string, obs Observation) {
	objects := obs.inOrder
	for _, change := range obs.Apply {
		written, ok := e.written.object(server, keyOf(change.Object))
		if !ok || written.altered {
			return // what the informers show has to be looked at
		}
		objects[keyOf(change.Object)] = written.mark
	}
	if len(objects) < obs.objects {
		return // something is still being deleted
	}
	e.written.setOrder(server, order{inputs, objects})
}

// InOrder says whether a server is as it was when it was settled with the same inputs, and for how long the informers may still
// lag behind our own writes. It makes no API call, and does not need to know what the server renders to.
func (e *Engine) InOrder(ctx context.Context, server *v1alpha1.JupyterServer, inputs string) (inOrder bool, unsettled time.Duration, err error) {
	was, ok := e.written.orderOf(server)
	if !ok || was.inputs != inputs || !e.written.unreviewed(server).since.IsZero() || e.contested(server) {
		return false, 0, nil
	}
	children, err := e.children(ctx, server)
	if err != nil {
		return false, 0, err
	}
	if e.isToLetGo(server, children[objectKey{claimKind, server.Name}]) {
		return false, 0, nil
	}
	for key, mark := range was.objects {
		child := children[key]
		delete(children, key)
		last, lag := e.lag(server, key, child)
		switch {
		case lag > 0 && last.mark == mark:
			unsettled = max(unsettled, lag)
		case lag > 0, child == nil, child.deleting, child.mark() != mark:
			return false, 0, nil
		}
	}
	return len(e.prunable(server, children)) == 0, unsettled, nil
}

// lag is for how long the word of the informers about an object does not count, because they lag behind what we wrote last.
func (e *Engine) lag(server *v1alpha1.JupyterServer, key objectKey, child *ownedObject) (writing, time.Duration) {
	last, ok := e.written.object(server, key)
	if !ok || last.pruned {
		return writing{}, 0
	}
	if !child.olderThan(last.resourceVersion) {
		e.written.forgetObject(server, key) // seen: if it is missing from now on, it was deleted
		return writing{}, 0
	}
	return last, max(0, settleTime-e.clock.Since(last.at))
}

// wasPruned says whether an object is one that was pruned, and that the informers only show because they lag behind.
func (e *Engine) wasPruned(server *v1alpha1.JupyterServer, key objectKey, child *ownedObject) bool {
	last, ok := e.written.object(server, key)
	return ok && last.pruned && last.uid == child.uid && e.clock.Since(last.at) < settleTime
}
