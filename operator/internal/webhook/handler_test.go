// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"net/http"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
)

// Anybody in the cluster can send the webhook anything.
func TestOddRequests(t *testing.T) {
	kind := metav1.GroupVersionKind{Group: "jupyterserver.dev", Version: "v1alpha1", Kind: "JupyterServer"}
	raw := func(text string) runtime.RawExtension { return runtime.RawExtension{Raw: []byte(text)} }
	const good = `{"metadata": {"name": "a"}, "spec": {"routing": {"host": "a.example.org"}}}`
	tests := []struct {
		reason  string
		request admissionv1.AdmissionRequest
		code    int32
	}{
		{reason: "nothing is asked", code: http.StatusOK},
		{reason: "another kind is none of ours", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: raw(`{}`)}, code: http.StatusOK},
		{reason: "a subresource has no spec", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, SubResource: "status"}, code: http.StatusOK},
		{reason: "deleting is free", request: admissionv1.AdmissionRequest{Operation: admissionv1.Delete, Kind: kind, OldObject: raw(good)}, code: http.StatusOK},
		{reason: "another version cannot be judged", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: metav1.GroupVersionKind{Group: kind.Group, Version: "v2", Kind: kind.Kind}, Object: raw(good)}, code: http.StatusBadRequest},
		{reason: "there is no object", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind}, code: http.StatusBadRequest},
		{reason: "the object is no JSON", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{`)}, code: http.StatusBadRequest},
		{reason: "the object is a list", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`[]`)}, code: http.StatusBadRequest},
		{reason: "the spec is a number", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{"spec": 1}`)}, code: http.StatusUnprocessableEntity},
		{reason: "an update needs what was before", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, Object: raw(good)}, code: http.StatusBadRequest},
		{reason: "null is nothing", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, Object: raw(good), OldObject: raw(`null`)}, code: http.StatusBadRequest},
		{reason: "a spec may be missing, which the schema does not let happen", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, Object: raw(`{}`), OldObject: raw(`{}`)}, code: http.StatusOK},
		{reason: "there may be no name", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{"metadata": {"generateName": "a-"}, "spec": {"routing": {"host": "a.example.org"}}}`)}, code: http.StatusOK},
		{reason: "the object names another namespace", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{"metadata": {"name": "a", "namespace": "nowhere"}, "spec": {"routing": {"host": "a.example.org"}}}`)}, code: http.StatusOK},
	}
	handler := &webhook.Handler{Judge: newJudge(t), Cluster: webhook.Lookup{Namespace: judge.Cluster{Live: suite.client, Informed: suite.client}.Namespace}}
	for _, test := range tests {
		test.request.Namespace = metav1.NamespaceDefault
		response := handler.Handle(t.Context(), admission.Request{AdmissionRequest: test.request})
		if response.Result.Code != test.code || response.Allowed != (test.code == http.StatusOK) {
			t.Errorf("%s: %d %s", test.reason, response.Result.Code, response.Result.Message)
		}
	}
}
