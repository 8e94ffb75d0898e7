// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestSourceOf(t *testing.T) {
	desired := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": "alice", "labels": map[string]any{"a": "1"}},
		"spec":     map[string]any{"ports": []any{map[string]any{"port": int64(80), "protocol": "TCP", "targetPort": "http"}}},
	}}
	ours := func(metadata, port string) metav1.ManagedFieldsEntry {
		return managedBy(FieldManager, metav1.ManagedFieldsOperationApply,
			`{`+metadata+`"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}`+port+`}}}}`)
	}
	const label = `"f:metadata":{"f:labels":{"f:a":{}}},`
	theirs := func(fields string) metav1.ManagedFieldsEntry {
		return managedBy("rival", metav1.ManagedFieldsOperationUpdate, fields)
	}
	tests := []struct {
		reason    string
		managed   []metav1.ManagedFieldsEntry
		managers  []string
		fields    []string
		admission bool
	}{
		{
			reason: "a field of a list item was taken over; another field does not matter",
			managed: []metav1.ManagedFieldsEntry{
				ours(label, ""),
				theirs(`{"f:metadata":{"f:labels":{"f:other":{}}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:targetPort":{}}}}}`),
			},
			managers: []string{"rival"}, fields: []string{`spec.ports[port=80,protocol="TCP"].targetPort`},
		},
		{
			reason:   "a label was taken over by apply",
			managed:  []metav1.ManagedFieldsEntry{ours("", `,"f:targetPort":{}`), managedBy("gitops", metav1.ManagedFieldsOperationApply, `{"f:metadata":{"f:labels":{"f:a":{}}}}`)},
			managers: []string{"gitops"}, fields: []string{"metadata.labels.a"},
		},
		{
			reason:  "a label was removed, and another manager did not",
			managed: []metav1.ManagedFieldsEntry{ours("", `,"f:targetPort":{}`), theirs(`{"f:status":{"f:loadBalancer":{}}}`)},
		},
		{
			reason:    "the operator owns everything",
			managed:   []metav1.ManagedFieldsEntry{ours(label, `,"f:targetPort":{}`), theirs(`{"f:metadata":{"f:labels":{"f:a":{}}}}`)},
			admission: true,
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			source, err := sourceOf(desired, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ManagedFields: test.managed}})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(source.Managers, test.managers) || !slices.Equal(source.Fields, test.fields) || source.Admission != test.admission || source.Deleted {
				t.Errorf("got %+v", *source)
			}
		})
	}
}

func managedBy(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	entry := metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{}}
	entry.FieldsV1.SetRawBytes([]byte(fields))
	return entry
}
