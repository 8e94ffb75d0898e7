// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// TestGivingBackTakesNothingFromOthers: a server that is denied another route must not take back its old one from another server.
func TestGivingBackTakesNothingFromOthers(t *testing.T) {
	here, there := policies.Route{Host: "h", Path: "/here"}, policies.Route{Host: "h", Path: "/there"}
	alice, bob := reserving("alice"), reserving("bob")
	tests := []struct {
		reason string
		bob    bool // reserves alice's old route meanwhile
		want   []client.ObjectKey
	}{
		{"a free route is held again", false, []client.ObjectKey{client.ObjectKeyFromObject(alice)}},
		{"a route taken by another server stays there", true, []client.ObjectKey{client.ObjectKeyFromObject(bob)}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			r := &Reservations{}
			r.reserve(alice, []policies.Route{here})
			r.Keep(alice)
			r.reserve(alice, []policies.Route{there})
			if test.bob {
				r.reserve(bob, []policies.Route{here})
			}
			r.GiveBack(alice)
			if got := r.at(here); !slices.Equal(got, test.want) {
				t.Errorf("held by %v, want %v", got, test.want)
			}
			if got := r.at(there); len(got) != 0 {
				t.Errorf("the route given back is held by %v", got)
			}
		})
	}
}

// TestStaysElsewhere: a server that is blocked at its released route keeps that route, also while its Ingress is missing.
func TestStaysElsewhere(t *testing.T) {
	tests := []struct {
		reason, url, path string
		edit              func(*v1alpha1.JupyterServer)
		want              bool
	}{
		{"the spec has another route", "https://H.example.org:8443/here/", "/there", nil, true},
		{"the spec has the released route", "https://H.example.org:8443/here/", "/here", nil, false},
		{"it was never released", "https://h.example.org/here/", "/there", func(s *v1alpha1.JupyterServer) { s.Status.Release = nil }, false},
		{"the status is of an earlier spec", "https://h.example.org/here/", "/there", func(s *v1alpha1.JupyterServer) { s.Generation++ }, false},
		{"the spec is not blocked", "https://h.example.org/here/", "/there", func(s *v1alpha1.JupyterServer) { s.Status.Conditions = nil }, false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			server := reserving("alice")
			server.Spec.Routing.Host, server.Spec.Routing.Path = "h.example.org", test.path
			server.Status = v1alpha1.JupyterServerStatus{
				URL: test.url, Release: &v1alpha1.ReleaseStatus{},
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}},
			}
			if test.edit != nil {
				test.edit(server)
			}
			if got := staysElsewhere(server); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func reserving(name string) *v1alpha1.JupyterServer {
	server := &v1alpha1.JupyterServer{}
	server.Namespace, server.Name, server.UID = "lab", name, types.UID(name)
	return server
}
