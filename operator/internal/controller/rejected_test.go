// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// TestRejectedAtApply sends the documents of the offline reader's test to the real API server.
func TestRejectedAtApply(t *testing.T) {
	w := newWorld(t)
	raw, err := os.ReadFile("../../api/schema/testdata/refused.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range bytes.Split(raw, []byte("\n---\n"))[1:] {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			t.Fatal(err)
		}
		annotations := object.GetAnnotations()
		object.SetNamespace(w.namespace)
		err := suite.client.Create(w.ctx, object, client.FieldValidation(metav1.FieldValidationStrict))
		if err == nil {
			t.Errorf("%s: was accepted", annotations["test/reason"])
			continue
		}
		message := err.Error()
		for part := range strings.SplitSeq(annotations["test/want"], "…") {
			if !strings.Contains(message, part) {
				t.Errorf("%s: error %v, want one with %q", annotations["test/reason"], err, annotations["test/want"])
			}
		}
	}
}

func TestRejectedChanges(t *testing.T) {
	fast := "fast"
	tests := []struct {
		reason string
		edit   func(*v1alpha1.JupyterServer)
		want   string
	}{
		{"a smaller volume", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.Size = "500Mi" }, "size can only grow"},
		{"another storage class", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.StorageClassName = &fast }, "storageClassName cannot be changed"},
	}
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	for _, test := range tests {
		server := &v1alpha1.JupyterServer{}
		w.get("alice", server)
		test.edit(server)
		err := suite.client.Update(w.ctx, server)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.reason, err, test.want)
		}
	}
}

func TestLargerVolumeResizesTheClaim(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.Size = "2Gi" })
	// No storage class allows a claim to grow, so the API server rejects that, which the server reports.
	message := w.stalled("alice", v1alpha1.ReasonApplyRefused)
	if !strings.Contains(message, "PersistentVolumeClaim alice") {
		t.Errorf("message %q", message)
	}
}
