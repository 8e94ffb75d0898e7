// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// applies is the number of simultaneous requests.
const applies = 200

// BenchmarkHandler measures the handler alone, one request after the other.
func BenchmarkHandler(b *testing.B) {
	handler, request := benchmarked(b)
	var times durations
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if response := handler.Handle(b.Context(), admission.Request{AdmissionRequest: request}); !response.Allowed {
			b.Fatal(response.Result.Message)
		}
		times.add(time.Since(start))
	}
	times.report(b)
}

// BenchmarkWebhook measures 200 requests over HTTPS, spread over a second, and all at the same time, where each waits for most of
// the others.
func BenchmarkWebhook(b *testing.B) {
	handler, request := benchmarked(b)
	server := httptest.NewUnstartedServer(&admission.Webhook{Handler: handler})
	server.EnableHTTP2 = true // as used by the API server
	server.StartTLS()
	defer server.Close()
	body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &request})
	if err != nil {
		b.Fatal(err)
	}
	ask := func(ctx context.Context) error {
		post, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+webhook.Path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		post.Header.Set("Content-Type", "application/json")
		response, err := server.Client().Do(post)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(response.Body).Decode(&review); err != nil {
			return err
		}
		if !review.Response.Allowed {
			return errors.New(review.Response.Result.Message)
		}
		return nil
	}
	for _, within := range []time.Duration{time.Second, 0} {
		b.Run(fmt.Sprintf("within-%s", within), func(b *testing.B) {
			if err := ask(b.Context()); err != nil { // opens the connection
				b.Fatal(err)
			}
			var times durations
			for b.Loop() {
				var group sync.WaitGroup
				for range applies {
					group.Go(func() {
						time.Sleep(time.Duration(rand.Float64() * float64(within)))
						start := time.Now()
						if err := ask(b.Context()); err != nil {
							b.Error(err)
						}
						times.add(time.Since(start))
					})
				}
				group.Wait()
			}
			times.report(b)
		})
	}
}

func benchmarked(b *testing.B) (*webhook.Handler, admissionv1.AdmissionRequest) {
	b.Helper()
	o := server("alice", "auth: {mode: token}, storage: {size: 1Gi}, jupyterServer: {image: quay.io/jupyter/minimal-notebook:x, defaultUrl: /lab, rootDir: /home/jovyan/work}")
	o.SetNamespace(metav1.NamespaceDefault)
	raw, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	handler := &webhook.Handler{Judge: newJudge(b), Cluster: webhook.Lookup{Namespace: func(_ context.Context, name string) (policies.Namespace, error) {
		return policies.Namespace{Name: name}, nil
	}}}
	return handler, admissionv1.AdmissionRequest{
		UID: "a", Operation: admissionv1.Create, Namespace: metav1.NamespaceDefault, Name: "alice",
		Kind:     metav1.GroupVersionKind{Group: "jupyterserver.dev", Version: "v1alpha1", Kind: "JupyterServer"},
		UserInfo: authenticationv1.UserInfo{Username: "alice", Groups: []string{"system:authenticated"}},
		Object:   runtime.RawExtension{Raw: raw},
	}
}

// durations collects durations concurrently.
type durations struct {
	mu  sync.Mutex
	all []time.Duration
}

func (d *durations) add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, took)
}

func (d *durations) report(b *testing.B) {
	b.Helper()
	slices.Sort(d.all)
	b.ReportMetric(float64(d.all[len(d.all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(d.all[len(d.all)*99/100].Microseconds())/1000, "p99-ms")
}
