// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"testing"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

func pause(ctx context.Context, milliseconds int) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(milliseconds) * time.Millisecond):
	}
}

// Whatever an operator that is killed was about to do: the next one ends up where an undisturbed one would have.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	chance := random(t)
	servers := names(40)
	o := w.operator()
	tokens := map[string]string{}
	rest := servers
	stop := w.load(servers)
	const kills = 15
	for i := range kills {
		for range min(len(rest), 1+len(servers)/(kills-6)) {
			w.create(w.namespace, rest[0], nil)
			rest = rest[1:]
		}
		if i%4 != 0 { // else it is killed while it starts
			w.eventually("starting", o.hasStarted)
		}
		pause(t.Context(), 1200*chance.IntN(100)/100)
		o.kill()
		for name, token := range w.tokens(servers[switching:]) {
			if before := tokens[name]; before != "" && before != token {
				t.Errorf("the token of %s is another one", name)
			}
			tokens[name] = token
		}
		o.start()
	}
	stop()
	w.released(w.namespace)
	w.undone(w.namespace)
	w.atRest(w.namespace)
	w.sound(w.namespace)
	after := w.tokens(servers[switching:])
	for name, token := range tokens {
		if after[name] != token {
			t.Errorf("the token of %s is another one", name)
		}
	}
	w.twins(w.namespace, w.namespaces[1])
	w.released(w.namespaces[1])
	w.atRest(w.namespaces[1])
	w.asFresh(w.namespace, w.namespaces[1])
}

// twins makes equal servers in another namespace.
func (w *world) twins(namespace, other string) {
	w.Helper()
	for key, object := range w.objects(namespace) {
		if object.GetKind() != v1alpha1.Kind {
			continue
		}
		spec, ok := object.Object["spec"].(map[string]any)
		if !ok {
			w.Fatalf("%s has no spec", key)
		}
		w.createWith(other, object.GetName(), object.GetLabels(), spec)
	}
}
