// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

func shard(name string) map[string]string { return map[string]string{"shard": name} }

// Two operators share the servers of one namespace. Each only writes to its own shard, whatever happens to the other.
func TestShardsAreIsolated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, rest := w.replica("--shard-selector=shard=a"), w.replica("--shard-selector=shard notin (a,none)")
	of := map[*operator][]string{a: {"anne", "arno", "anton"}, rest: {"bert", "chloe"}}
	for _, name := range of[a] {
		w.create(w.namespace, name, shard("a"))
	}
	w.create(w.namespace, "bert", shard("b"))
	w.create(w.namespace, "chloe", nil)
	w.create(w.namespace, "orphan", shard("none"))
	w.released(w.namespace, append(of[a], of[rest]...)...)

	a.kill()
	w.waitIdle(w.namespace)
	before := w.versions(w.namespace)
	w.change("anne", `{"spec":{"jupyterServer":{"defaultUrl":"/tree"}}}`)
	w.patch(&networkingv1.Ingress{}, "arno", `{"spec":{"rules":[{"host":"elsewhere.example.org"}]}}`)
	w.remove(&corev1.Service{}, "anton")
	w.change("bert", `{"spec":{"jupyterServer":{"defaultUrl":"/tree"}}}`)
	w.remove(&corev1.Service{}, "chloe")
	w.released(w.namespace, of[rest]...)
	w.eventually("restoring an object of the other shard", func() error { return w.get(&corev1.Service{}, "chloe") })
	w.waitIdle(w.namespace)
	for key, version := range w.versions(w.namespace) {
		for _, name := range of[a] {
			if _, object, _ := strings.Cut(key, " "); concerns(object, name) && key != "JupyterServer anne" && key != "Ingress arno" && version != before[key] {
				t.Errorf("%s was written while its operator was down", key)
			}
		}
	}

	a.start()
	w.released(w.namespace, of[a]...)
	w.eventually("catching up", func() error {
		ingress := &networkingv1.Ingress{}
		if err := w.get(ingress, "arno"); err != nil {
			return err
		}
		if host := ingress.Spec.Rules[0].Host; host != w.namespace+".localhost" {
			return fmt.Errorf("the Ingress has the host %s", host)
		}
		return w.get(&corev1.Service{}, "anton")
	})
	w.waitIdle(w.namespace)
	for o, names := range of {
		for _, is := range suite.audit.of(t, w.namespace, by(o, toServers)) {
			if !slices.ContainsFunc(names, func(name string) bool { return concerns(is.ObjectRef.Name, name) }) {
				t.Errorf("the shard of %v wrote: %s", names, is)
			}
		}
	}
	for key := range w.objects(w.namespace) {
		if _, object, _ := strings.Cut(key, " "); concerns(object, "orphan") && key != "JupyterServer orphan" {
			t.Errorf("found %s, which no shard selects", key)
		}
	}
	if holders := w.holders(); len(holders) != 2 || holders[0] == holders[1] {
		t.Errorf("the leases are held by %q", holders)
	}
	w.releasesSound(w.namespace)
}

// A server that moves to another shard is adopted unchanged, and its first operator no longer writes to it.
func TestServerMovesToAnotherShard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, b := w.operator("--shard-selector=shard=a"), w.operator("--shard-selector=shard=b")
	w.create(w.namespace, "alice", shard("a"))
	w.released(w.namespace)
	for i, o := range []*operator{b, a} {
		w.waitIdle(w.namespace)
		before := w.versions(w.namespace)
		w.change("alice", `{"metadata":{"labels":{"shard":"`+[]string{"b", "a"}[i]+`"}}}`)
		w.waitIdle(w.namespace)
		delete(before, "JupyterServer alice")
		after := w.versions(w.namespace)
		for key := range before {
			if after[key] != before[key] {
				t.Errorf("moving wrote %s", key)
			}
		}
		written := len(suite.audit.of(t, w.namespace, by(o, toObjects)))
		w.change("alice", `{"spec":{"jupyterServer":{"defaultUrl":"/`+[]string{"tree", "doc"}[i]+`"}}}`)
		w.released(w.namespace)
		w.waitIdle(w.namespace)
		if len(suite.audit.of(t, w.namespace, by(o, toObjects))) == written {
			t.Errorf("%s did not adopt the server", o.user)
		}
	}
	w.releasesSound(w.namespace)
}

// The route of a server of another shard is taken too.
func TestRoutesOfAnotherShardAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.operator("--shard-selector=shard=a")
	w.operator("--shard-selector=shard=b")
	w.create(w.namespace, "alice", shard("a"))
	w.released(w.namespace)
	w.createWith(w.namespace, "bob", shard("b"), map[string]any{"routing": map[string]any{"path": "/alice"}})
	w.stalled("bob", "RouteTaken")
	w.change("alice", `{"spec":{"routing":{"path":"/elsewhere"}}}`)
	w.released(w.namespace)
}
