// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
)

// Twenty servers, applied together, share a host. It is not parallel, because they use all of a small machine.
func TestTwentyServersShareAHost(t *testing.T) {
	const count = 20
	w := newWorld(t)
	var names, manifests []string
	for i := range count {
		// alice1 is a prefix of alice10: paths must be distinguished.
		names = append(names, fmt.Sprintf("alice%d", i))
		manifests = append(manifests, w.manifest(names[i], `storage: {ephemeral: true}`))
	}
	begun := time.Now()
	if err := w.tryApply(strings.Join(manifests, "---\n")); err != nil {
		t.Fatal(err)
	}
	servers, tokens := map[string]*v1alpha1.JupyterServer{}, map[string]string{}
	for _, name := range names {
		servers[name] = w.await(name, "is running among twenty", 5*time.Minute, isRunning)
		tokens[name] = w.token(name)
	}
	t.Logf("all %d are running after %s", count, time.Since(begun).Round(time.Second))
	for i, name := range names {
		other := names[(i+1)%count]
		own := w.answers(servers[name], tokens[name])
		if out := w.ask(w.jupyter(servers[name], tokens[other]).Status); jupyter.Code(out) != 403 {
			t.Errorf("%s with the token of %s: %v, want HTTP status 403", name, other, out)
		}
		w.putFile(own, "name.txt", name)
	}
	for _, name := range names {
		w.wantFile(w.jupyter(servers[name], tokens[name]), "name.txt", name)
	}
	last := names[count-1]
	if got := w.cell(w.jupyter(servers[last], tokens[last]), "6*7").Result; got != "42" {
		t.Errorf("6*7 is %q, want 42", got)
	}
}

func TestTwoServersShareAHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice")
	w.apply("alicex") // its path has the other's as prefix
	alice, alicex := w.running("alice"), w.running("alicex")
	w.putFile(w.answers(alice, w.token("alice")), "name.txt", "alice")
	w.putFile(w.answers(alicex, w.token("alicex")), "name.txt", "alicex")
	w.wantFile(w.jupyter(alice, w.token("alice")), "name.txt", "alice")
	w.wantFile(w.jupyter(alicex, w.token("alicex")), "name.txt", "alicex")
	w.checkTokenDenied(w.jupyter(alice, w.token("alicex")), "the token of another server")
}
