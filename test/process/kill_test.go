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

// Whatever a killed operator was about to do, the next one reaches the state of an undisturbed one.
func TestRepeatedKills(t *testing.T) {
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
		if i%4 != 0 { // otherwise it is killed during its start
			w.eventually("starting", o.checkStarted)
		}
		pause(t.Context(), 1200*chance.IntN(100)/100)
		o.kill()
		for name, token := range w.tokens(servers[objectEditServers:]) {
			if before := tokens[name]; before != "" && before != token {
				t.Errorf("the token of %s changed", name)
			}
			tokens[name] = token
		}
		o.start()
	}
	stop()
	w.released(w.namespace)
	w.waitReverted(w.namespace)
	w.waitIdle(w.namespace)
	w.releasesSound(w.namespace)
	after := w.tokens(servers[objectEditServers:])
	for name, token := range tokens {
		if after[name] != token {
			t.Errorf("the token of %s changed", name)
		}
	}
	w.copyServers(w.namespace, w.namespaces[1])
	w.released(w.namespaces[1])
	w.waitIdle(w.namespaces[1])
	w.equalsFresh(w.namespace, w.namespaces[1])
}

// copyServers creates equal servers in another namespace.
func (w *world) copyServers(namespace, other string) {
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
