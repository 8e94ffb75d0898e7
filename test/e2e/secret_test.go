// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
)

func TestReferencedSecretIsTheToken(t *testing.T) {
	t.Parallel()
	const first, second = "the-first-token-0123456789abcdef", "the-second-token-0123456789abcdef"
	w := newWorld(t)
	w.apply("alice", `auth: {token: {secretKeyRef: {name: mine, key: password}}}`)
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)

	w.kubectl("create", "secret", "generic", "mine", "--from-literal=password="+first)
	server := w.running("alice")
	w.answers(server, first)
	if err := w.ask(w.jupyter(server, second).Status); jupyter.Code(err) != 403 {
		t.Errorf("another token: %v, want HTTP status 403", err)
	}

	before := w.podUID("alice-0")
	w.kubectl("patch", "secret", "mine", "--type=merge", `-p={"stringData":{"password":"`+second+`"}}`)
	w.eventually("the pod is replaced", start, func() error { return w.podReplaced("alice-0", before) })
	server = w.running("alice")
	w.answers(server, second)
	old := w.jupyter(server, first)
	err := w.ask(func(ctx context.Context) error { return old.Status(ctx) })
	if jupyter.Code(err) != 403 {
		t.Errorf("the previous token: %v, want HTTP status 403", err)
	}
}
