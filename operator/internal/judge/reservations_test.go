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

// A server that wants to go elsewhere and may not must not come back to where somebody else is by now.
func TestGivingBackTakesNothingFromOthers(t *testing.T) {
	here, there := policies.Route{Host: "h", Path: "/here"}, policies.Route{Host: "h", Path: "/there"}
	alice, bob := reserving("alice"), reserving("bob")
	tests := []struct {
		reason string
		bob    bool // comes while alice wants to be elsewhere
		want   []client.ObjectKey
	}{
		{"what nobody took is held again", false, []client.ObjectKey{client.ObjectKeyFromObject(alice)}},
		{"what somebody took stays theirs", true, []client.ObjectKey{client.ObjectKeyFromObject(bob)}},
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
				t.Errorf("what was given back is held by %v", got)
			}
		})
	}
}

// A server that is blocked where it is keeps its claim to that route, also while its Ingress is away.
func TestStaysElsewhere(t *testing.T) {
	tests := []struct {
		reason, url, path string
		edit              func(*v1alpha1.JupyterServer)
		want              bool
	}{
		{"it wants to go", "https://H.example.org:8443/here/", "/there", nil, true},
		{"it is where it wants to be", "https://H.example.org:8443/here/", "/here", nil, false},
		{"it was never released", "https://h.example.org/here/", "/there", func(s *v1alpha1.JupyterServer) { s.Status.Release = nil }, false},
		{"nobody has reported on its spec", "https://h.example.org/here/", "/there", func(s *v1alpha1.JupyterServer) { s.Generation++ }, false},
		{"it is not blocked", "https://h.example.org/here/", "/there", func(s *v1alpha1.JupyterServer) { s.Status.Conditions = nil }, false},
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
