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

// The API server is down for longer than a lease, while users work. All tests share it, so this test is not parallel.
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
	<-replica.ended // an operator that cannot renew its lease must exit
	apiserver := suite.env.ControlPlane.GetAPIServer()
	if err := errors.Join(apiserver.Stop(), apiserver.Start()); err != nil {
		t.Fatalf("starting the API server: %v", err)
	}
	replica.start()
	w.leads(alone)
	w.leads(replica)
	stop()
	w.released(w.namespace)
	w.waitReverted(w.namespace)
	w.releasesSound(w.namespace)

	written := w.waitIdle(w.namespace)
	before := w.versions(w.namespace)
	for _, o := range []*operator{alone, replica} {
		o.stop()
		o.start()
	}
	w.eventually("starting", alone.checkStarted)
	w.eventually("starting", replica.checkStarted)
	if now := w.waitIdle(w.namespace); now != written {
		for _, write := range suite.audit.of(t, w.namespace, toServers)[written:] {
			t.Errorf("a restart wrote: %s", write)
		}
	}
	w.unchanged(w.namespace, before)
}

// killAPIServer sends SIGKILL. On SIGTERM an API server waits up to a minute for watches.
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
