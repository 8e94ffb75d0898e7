// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
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

func TestOwnFieldsCover(t *testing.T) {
	tests := []struct {
		reason string
		fields string
		edit   func(map[string]any)
		want   bool
	}{
		{reason: "every field is ours", fields: ownedService, want: true},
		{reason: "nothing is ours", fields: ``, want: false},
		{reason: "what is no field set is not trusted", fields: `[`, want: false},
		{
			reason: "somebody took a label",
			fields: `{"f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}}}, "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}}}`,
		},
		{
			reason: "somebody took a field in an item of a list",
			fields: `{"f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}}}, "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}}}}}`,
		},
		{
			reason: "the item of the list is another one",
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
			reason: "a field that is not set is nobody's",
			fields: ownedService,
			edit:   func(o map[string]any) { o["spec"].(map[string]any)["type"] = nil },
			want:   true,
		},
		{
			reason: "a new field is not ours yet",
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
			fields := withoutOwners(test.fields, desired.GetOwnerReferences())
			if got := (ownFields{[]byte(fields)}).cover(desired); got != test.want {
				t.Errorf("covered: %t, want %t", got, test.want)
			}
		})
	}
}

func TestStripKeepsOnlyWhatIsOurs(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, subresource string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, Subresource: subresource, FieldsV1: metav1.NewFieldsV1("{}")}
	}
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"x"}, VolumeName: "v"}}
	claim.ManagedFields = []metav1.ManagedFieldsEntry{
		entry("kubectl", metav1.ManagedFieldsOperationUpdate, ""),
		entry(FieldManager, metav1.ManagedFieldsOperationUpdate, ""),
		entry(FieldManager, metav1.ManagedFieldsOperationApply, "status"),
		entry(FieldManager, metav1.ManagedFieldsOperationApply, ""),
	}
	claim.Labels = map[string]string{v1alpha1.ServerLabel: "alice", "app": "x"}
	claim.Annotations = map[string]string{appliedAnnotation: "digest", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
	for range 2 { // informers may do it twice
		if _, err := Strip(claim); err != nil {
			t.Fatal(err)
		}
	}
	if want := map[string]string{v1alpha1.ServerLabel: "alice", appliedAnnotation: "digest"}; !maps.Equal(claim.Labels, want) || claim.Annotations != nil {
		t.Errorf("labels %v, want %v; annotations %v, want none", claim.Labels, want, claim.Annotations)
	}
	if got := appliedOf(claim); got != "digest" {
		t.Errorf("applied %q", got)
	}
	if len(claim.ManagedFields) != 1 || claim.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply || claim.ManagedFields[0].Subresource != "" {
		t.Errorf("managed fields %v", claim.ManagedFields)
	}
	if claim.Spec.AccessModes != nil || claim.Spec.VolumeName != "v" {
		t.Errorf("spec %+v", claim.Spec)
	}
}
