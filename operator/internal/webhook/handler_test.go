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

// TestOddRequests sends requests that the API server would not: any client in the cluster can call the webhook.
func TestOddRequests(t *testing.T) {
	kind := metav1.GroupVersionKind{Group: "jupyterserver.dev", Version: "v1alpha1", Kind: "JupyterServer"}
	raw := func(text string) runtime.RawExtension { return runtime.RawExtension{Raw: []byte(text)} }
	const good = `{"metadata": {"name": "a"}, "spec": {"routing": {"host": "a.example.org"}}}`
	tests := []struct {
		reason  string
		request admissionv1.AdmissionRequest
		code    int32
	}{
		{reason: "an empty request", code: http.StatusOK},
		{reason: "another kind is ignored", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: raw(`{}`)}, code: http.StatusOK},
		{reason: "a subresource is ignored", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, SubResource: "status"}, code: http.StatusOK},
		{reason: "deleting is always allowed", request: admissionv1.AdmissionRequest{Operation: admissionv1.Delete, Kind: kind, OldObject: raw(good)}, code: http.StatusOK},
		{reason: "another version is not supported", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: metav1.GroupVersionKind{Group: kind.Group, Version: "v2", Kind: kind.Kind}, Object: raw(good)}, code: http.StatusBadRequest},
		{reason: "the object is missing", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind}, code: http.StatusBadRequest},
		{reason: "the object is not JSON", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{`)}, code: http.StatusBadRequest},
		{reason: "the object is a list", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`[]`)}, code: http.StatusBadRequest},
		{reason: "the spec is a number", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{"spec": 1}`)}, code: http.StatusUnprocessableEntity},
		{reason: "an update needs the old object", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, Object: raw(good)}, code: http.StatusBadRequest},
		{reason: "the old object is null", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, Object: raw(good), OldObject: raw(`null`)}, code: http.StatusBadRequest},
		{reason: "a missing spec, which the schema rejects, is allowed", request: admissionv1.AdmissionRequest{Operation: admissionv1.Update, Kind: kind, Object: raw(`{}`), OldObject: raw(`{}`)}, code: http.StatusOK},
		{reason: "the name may be missing", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{"metadata": {"generateName": "a-"}, "spec": {"routing": {"host": "a.example.org"}}}`)}, code: http.StatusOK},
		{reason: "the namespace in the object is ignored", request: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Kind: kind, Object: raw(`{"metadata": {"name": "a", "namespace": "nowhere"}, "spec": {"routing": {"host": "a.example.org"}}}`)}, code: http.StatusOK},
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
