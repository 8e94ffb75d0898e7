// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// While the spec of a server is blocked, for whatever reason, drift from its last release is reverted.
func TestBlockedServerKeepsItsRelease(t *testing.T) {
	tests := []struct {
		reason, blocked string
		block           func(w *world, s *v1alpha1.JupyterServer)
	}{
		{"a Secret is missing", v1alpha1.ReasonReferenceNotFound, func(_ *world, s *v1alpha1.JupyterServer) {
			s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
		}},
		{"the API server rejects an object", v1alpha1.ReasonApplyRefused, func(_ *world, s *v1alpha1.JupyterServer) {
			s.Spec.Storage.Size = "2Gi" // no storage class allows a claim to grow
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			w.change("alice", func(s *v1alpha1.JupyterServer) {
				s.Spec.Routing.Path = "/elsewhere"
				test.block(w, s)
			})
			w.stalled("alice", test.blocked)
			w.remove("alice", &networkingv1.NetworkPolicy{})
			w.remove("alice", &appsv1.StatefulSet{})
			w.patch("alice", &corev1.Service{}, `{"spec":{"ports":[{"name":"http","port":80,"targetPort":1}]}}`)
			w.eventually("all drift is reverted", func() error {
				service := &corev1.Service{}
				w.get("alice", service)
				return errors.Join(w.tryGet("alice", &networkingv1.NetworkPolicy{}), w.tryGet("alice", &appsv1.StatefulSet{}),
					expect(service.Spec.Ports[0].TargetPort.String() != "1", true))
			})
			ingress := &networkingv1.Ingress{}
			if w.get("alice", ingress); ingress.Spec.Rules[0].HTTP.Paths[0].Path != "/alice" {
				t.Error("the blocked spec was applied")
			}
			w.stalled("alice", test.blocked)
		})
	}
}

// Drift of a running server is reverted while an edit of its spec is rejected.
func TestDriftIsRevertedWhileAnEditIsRejected(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	before := w.released("alice")
	w.label(map[string]string{forbidden: "evil"})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "evil" })
	w.stalled("alice", "SuiteImage")
	w.remove("alice", &corev1.Service{})
	w.eventually("the Service is restored", func() error { return w.tryGet("alice", &corev1.Service{}) })
	w.runsImage("alice", goodImage)
	after := w.stalledServer("alice", "SuiteImage")
	if after.Status.Release.Revision != before.Status.Release.Revision {
		t.Errorf("there is a new revision: %+v", after.Status.Release)
	}
}

// The old route of a server is free once its Ingress is deleted while a change of the route is blocked. Only one server gets it.
func TestAbandonedRouteGoesToOneServer(t *testing.T) {
	w := newWorld(t)
	const pairs = 10
	for i := range pairs {
		name, other := fmt.Sprintf("left%d", i), fmt.Sprintf("next%d", i)
		w.create(w.server(name))
		w.released(name)
		w.change(name, func(s *v1alpha1.JupyterServer) {
			s.Spec.Routing.Path = "/elsewhere-" + name
			s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
		})
		w.stalled(name, v1alpha1.ReasonReferenceNotFound)
		next := w.server(other)
		next.Spec.Routing.Path = "/" + name
		w.create(next)
		w.stalled(other, "RouteTaken")
		w.remove(name, &networkingv1.Ingress{})
	}
	w.quiet()
	list := &networkingv1.IngressList{}
	if err := suite.client.List(w.ctx, list, client.InNamespace(w.namespace)); err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for _, ingress := range list.Items {
		at[ingress.Spec.Rules[0].HTTP.Paths[0].Path]++
	}
	for i := range pairs {
		if path := fmt.Sprintf("/left%d", i); at[path] != 1 {
			t.Errorf("%d servers have the route %s", at[path], path)
		}
	}
}

// Users who may write Secrets could forge release records. The policies never evaluated such a manifest, so it is not applied.
func TestForgedRecordIsNotApplied(t *testing.T) {
	forge := func(w *world, revision int) {
		w.Helper()
		records, record := w.record(revision)
		forged := strings.Replace(record.Manifest, "      containers:", "      hostNetwork: true\n      containers:", 1)
		if forged == record.Manifest {
			w.Fatal("the manifest is unchanged")
		}
		record.Manifest = forged
		if err := records.Update(fmt.Sprintf("sh.helm.release.v1.alice.v%d", revision), record); err != nil {
			w.Fatal(err)
		}
	}
	onHost := func(w *world) bool {
		w.Helper()
		set := &appsv1.StatefulSet{}
		w.get("alice", set)
		return set.Spec.Template.Spec.HostNetwork
	}
	tests := []struct {
		reason string
		attack func(*world)
	}{
		{"of a server that was rolled back", func(w *world) {
			server := w.server("alice")
			server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
			w.breaksAfterItRan(server)
			w.runsImage("alice", goodImage)
			w.playPod("alice", true)
			w.stalled("alice", v1alpha1.ReasonRolledBack)
			forge(w, 3)
			w.remove("alice", &corev1.Service{})
		}},
		{"of the revision that a roll-back goes to", func(w *world) {
			server := w.server("alice")
			server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
			w.ranOnce(server)
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = badImage })
			w.runsImage("alice", badImage)
			forge(w, 1)
			w.playPod("alice", false)
			w.status("alice", "the failed rollback is reported", func(s v1alpha1.JupyterServerStatus) bool {
				return strings.Contains(s.Message, "cannot be rolled back: The record")
			})
		}},
		{"of a server whose spec is blocked", func(w *world) {
			w.create(w.server("alice"))
			w.released("alice")
			forge(w, 1)
			w.change("alice", func(s *v1alpha1.JupyterServer) {
				s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
			})
			w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
			w.remove("alice", &corev1.Service{})
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			test.attack(w)
			w.quiet()
			if onHost(w) {
				t.Error("the pod uses the network of its node")
			}
		})
	}
}
