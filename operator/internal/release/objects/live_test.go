// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const desiredService = `
apiVersion: v1
kind: Service
metadata: {name: alice, namespace: default, labels: {a: b}, ownerReferences: [{uid: u1, kind: JupyterServer}]}
spec:
  selector: {app: x}
  ports: [{name: http, port: 80, protocol: TCP}]
  externalIPs: []
`

const ownedService = `{
 "f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}}},
 "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}}}`

func TestFieldsCover(t *testing.T) {
	tests := []struct {
		reason string
		fields string
		edit   func(map[string]any)
		want   bool
	}{
		{reason: "the operator owns every field", fields: ownedService, want: true},
		{reason: "the operator owns nothing", fields: ``, want: false},
		{reason: "a malformed set is not trusted", fields: `[`, want: false},
		{
			reason: "another manager took a label",
			fields: `{"f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}}}, "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}}}`,
		},
		{
			reason: "another manager took a field of a list item",
			fields: `{"f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}}}, "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}}}}}`,
		},
		{
			reason: "the list item is another one",
			fields: ownedService,
			edit: func(o map[string]any) {
				o["spec"].(map[string]any)["ports"].([]any)[0].(map[string]any)["port"] = int64(81)
			},
		},
		{
			reason: "a key field that is left out is defaulted by the API server",
			fields: ownedService,
			edit: func(o map[string]any) {
				delete(o["spec"].(map[string]any)["ports"].([]any)[0].(map[string]any), "protocol")
			},
			want: true,
		},
		{
			reason: "a list has several items",
			fields: `{"f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}, "k:{\"uid\":\"u2\"}": {}}}, "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:ports": {
				"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}},
				"k:{\"port\":81,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}}}`,
			edit: func(o map[string]any) {
				spec := o["spec"].(map[string]any)
				spec["ports"] = append(spec["ports"].([]any), map[string]any{"name": "more", "port": int64(81), "protocol": "TCP"})
			},
			want: true,
		},
		{
			reason: "a field without a value has no owner",
			fields: ownedService,
			edit:   func(o map[string]any) { o["spec"].(map[string]any)["type"] = nil },
			want:   true,
		},
		{
			reason: "a new field is not owned yet",
			fields: ownedService,
			edit:   func(o map[string]any) { o["spec"].(map[string]any)["type"] = "ClusterIP" },
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			desired := &unstructured.Unstructured{}
			raw, err := yaml.YAMLToJSON([]byte(desiredService))
			if err != nil {
				t.Fatal(err)
			}
			if err := desired.UnmarshalJSON(raw); err != nil {
				t.Fatal(err)
			}
			if test.edit != nil {
				test.edit(desired.Object)
			}
			if got := fields(test.fields).cover(desired); got != test.want {
				t.Errorf("covered: %t, want %t", got, test.want)
			}
		})
	}
}

func TestWasEditedByOwners(t *testing.T) {
	ref := Ref{Namespace: "lab", Name: "alice", UID: "1"}
	applied := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}}}
	other, uncontrolled := ref.Owner(), ref.Owner()
	other.UID, uncontrolled.Controller = "2", nil
	tests := []struct {
		reason       string
		wanted, live []metav1.OwnerReference
		want         bool
	}{
		{"the server owns it", []metav1.OwnerReference{ref.Owner()}, []metav1.OwnerReference{ref.Owner()}, false},
		{"another owner was added", []metav1.OwnerReference{ref.Owner()}, []metav1.OwnerReference{other, ref.Owner()}, false},
		{"the owner was removed", []metav1.OwnerReference{ref.Owner()}, nil, true},
		{"the owner was replaced", []metav1.OwnerReference{ref.Owner()}, []metav1.OwnerReference{other}, true},
		{"the owner no longer controls it", []metav1.OwnerReference{ref.Owner()}, []metav1.OwnerReference{uncontrolled}, true},
		{"a retained claim has no owner", nil, nil, false},
	}
	for _, test := range tests {
		applied.SetOwnerReferences(test.wanted)
		found := &live{owners: test.live, fields: `{"f:metadata": {"f:labels": {"f:a": {}}}}`}
		if got := found.wasEdited(applied); got != test.want {
			t.Errorf("%s: edited %t, want %t", test.reason, got, test.want)
		}
	}
}
