// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

func TestCallOfRequest(t *testing.T) {
	tests := []struct {
		reason      string
		method      string
		path        string
		contentType string
		want        call
		none        bool
	}{
		{reason: "a create", method: "POST", path: "/api/v1/namespaces/a/secrets", want: call{verb: "POST", resource: "secrets"}},
		{reason: "a get", method: "GET", path: "/api/v1/namespaces/a/secrets/b", want: call{verb: "GET", resource: "secrets"}},
		{reason: "a list", method: "GET", path: "/api/v1/namespaces/a/secrets", want: call{verb: "LIST", resource: "secrets"}},
		{reason: "a watch", method: "GET", path: "/api/v1/secrets?watch=true", want: call{verb: "WATCH", resource: "secrets"}},
		{reason: "a patch", method: "PATCH", path: "/apis/jupyterserver.dev/v1alpha1/namespaces/a/jupyterservers/b/status", contentType: "application/merge-patch+json", want: call{verb: "PATCH", resource: "jupyterservers/status"}},
		{reason: "an apply", method: "PATCH", path: "/apis/apps/v1/namespaces/a/statefulsets/b?force=true", contentType: "application/apply-patch+yaml", want: call{verb: "APPLY", resource: "statefulsets"}},
		{reason: "a dry run", method: "PATCH", path: "/apis/apps/v1/namespaces/a/statefulsets/b?dryRun=All", contentType: "application/apply-patch+yaml", want: call{verb: "APPLY", resource: "statefulsets", dryRun: true}},
		{reason: "a non-resource request", method: "GET", path: "/metrics", none: true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), test.method, test.path, http.NoBody)
			request.Header.Set("Content-Type", test.contentType)
			got, ok := callOfRequest(request)
			if ok == test.none || got != test.want {
				t.Errorf("%v, %t; want %v", got, ok, test.want)
			}
		})
	}
}

func TestRecordedRequests(t *testing.T) {
	tests := []struct {
		reason, method, path string
		want                 bool
	}{
		{"a write of the sample", "POST", "/api/v1/namespaces/bench-00000/secrets", true},
		{"a read", "GET", "/api/v1/namespaces/bench-00000/secrets", false},
		{"a dry run", "PATCH", "/apis/apps/v1/namespaces/bench-00000/statefulsets/a?dryRun=All", false},
		{"an event", "POST", "/apis/events.k8s.io/v1/namespaces/bench-00000/events", false},
		{"a write in another namespace", "POST", "/api/v1/namespaces/default/secrets", false},
	}
	r := &recorder{namespace: layout{}.namespace(0)}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := r.match(httptest.NewRequestWithContext(t.Context(), test.method, test.path, http.NoBody)); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

func TestUIDOfAResponse(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "u1"}}
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		info, ok := runtime.SerializerInfoForMediaType(clientgoscheme.Codecs.SupportedMediaTypes(), mediaType)
		if !ok {
			t.Fatalf("no serializer for %s", mediaType)
		}
		body, err := runtime.Encode(clientgoscheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), secret)
		if err != nil {
			t.Fatal(err)
		}
		if uid, err := uidOf(mediaType, body); err != nil || uid != "u1" {
			t.Errorf("%s: %q, %v", mediaType, uid, err)
		}
	}
}

// TestSubstitutionsHaveEqualLength: some bodies are protocol buffers with length-prefixed strings.
func TestSubstitutionsHaveEqualLength(t *testing.T) {
	for _, l := range []layout{{}, {perNamespace: 20}} {
		for _, i := range []int{1, 20, 21, 5000, 99999} {
			if len(name(i)) != len(name(0)) || len(l.namespace(i)) != len(l.namespace(0)) {
				t.Errorf("server %d is %s/%s", i, l.namespace(i), name(i))
			}
		}
	}
}

func TestSubstitutions(t *testing.T) {
	pair := newSubstitutions(layout{perNamespace: 20}, 21)
	pair.add("uid-of-sample", "uid-of-other1")
	pair.add("uid-of-sample", "uid-of-another") // a response to an update contains the UID again
	pair.add("", "a response without UID")
	path := url.URL{Path: string(pair.replace([]byte("/namespaces/bench-00000/secrets/server-00000?uid=uid-of-sample")))}
	if want := "/namespaces/bench-00002/secrets/server-00021?uid=uid-of-other1"; path.Path != want {
		t.Errorf("%s, want %s", path.Path, want)
	}
}

func TestLayout(t *testing.T) {
	tests := []struct {
		reason  string
		layout  layout
		servers int
		want    int
	}{
		{"all in one", layout{}, 1000, 1},
		{"full namespaces", layout{20}, 40, 2},
		{"the last one is not full", layout{20}, 41, 3},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			seen := map[string]bool{}
			for i := 1; i <= test.servers; i++ {
				seen[test.layout.namespace(i)] = true
			}
			if len(seen) != test.want || test.layout.namespaces(test.servers) != test.want {
				t.Errorf("%d namespaces, namespaces() returned %d, want %d", len(seen), test.layout.namespaces(test.servers), test.want)
			}
		})
	}
}

func TestPutIsRepeatedWithoutResourceVersion(t *testing.T) {
	info, ok := runtime.SerializerInfoForMediaType(clientgoscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		t.Fatal("no serializer for protocol buffers")
	}
	bodyOf := func(version string) []byte {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: version}}
		body, err := runtime.Encode(clientgoscheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), secret)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	tests := []struct {
		reason, method string
		want           []byte
	}{
		{"another object has another resource version", http.MethodPut, bodyOf("")},
		{"only a PUT contains a resource version", http.MethodPost, bodyOf("7")},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got, err := withoutVersion(&write{Method: test.method, ContentType: runtime.ContentTypeProtobuf, Body: bodyOf("7")})
			if err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}
