// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import "testing"

func TestRestartWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for _, name := range names(50) {
		w.create(w.namespace, name, nil)
	}
	o := w.operator()
	w.released(w.namespace)
	written := w.waitIdle(w.namespace)
	before := w.versions(w.namespace)
	for range 2 {
		o.stop()
		o.start()
		w.eventually("starting again", o.checkStarted)
		if now := w.waitIdle(w.namespace); now != written {
			for _, write := range suite.audit.of(t, w.namespace, toServers)[written:] {
				t.Errorf("a restart wrote: %s", write)
			}
		}
	}
	w.unchanged(w.namespace, before)
}
