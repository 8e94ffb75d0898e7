// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The API server goes away for longer than a lease lasts, and comes back, while people work. It is the suite's, so this test is not
// parallel.
func TestAPIServerRestarts(t *testing.T) {
	w := newWorld(t, 1)
	servers := names(20)
	for i, name := range servers {
		w.create(w.namespace, name, shard([]string{"a", "b"}[i%2]))
	}
	alone, replica := w.operator("--shard-selector=shard=a"), w.replica("--shard-selector=shard=b")
	w.leads(alone)
	w.leads(replica)
	stop := w.load(servers)

	killAPIServer(t)
	<-replica.ended // who cannot renew its lease may not go on
	apiserver := suite.env.ControlPlane.GetAPIServer()
	if err := errors.Join(apiserver.Stop(), apiserver.Start()); err != nil {
		t.Fatalf("starting the API server: %v", err)
	}
	replica.start()
	w.leads(alone)
	w.leads(replica)
	stop()
	w.released(w.namespace)
	w.undone(w.namespace)
	w.sound(w.namespace)

	written := w.atRest(w.namespace)
	before := w.versions(w.namespace)
	for _, o := range []*operator{alone, replica} {
		o.stop()
		o.start()
	}
	w.eventually("starting", alone.hasStarted)
	w.eventually("starting", replica.hasStarted)
	if now := w.atRest(w.namespace); now != written {
		for _, write := range suite.audit.of(t, w.namespace, toServers)[written:] {
			t.Errorf("a restart wrote: %s", write)
		}
	}
	w.unchanged(w.namespace, before)
}

// killAPIServer is kill -9: when it is asked to stop, an API server waits a minute for whoever watches.
func killAPIServer(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(suite.apiserverPID)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing the API server: %v", err)
	}
}
