// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiservertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// Eventually calls try until it returns nil, and fails the test with its last error after the limit.
func Eventually(t testing.TB, what string, limit time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: after %s: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// NewNamespace creates a namespace with a generated name and returns the name. Its servers are deleted after the test, so that the
// operators of later tests have no work with them: nothing else deletes what is in a namespace.
func NewNamespace(t testing.TB, c client.Client) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := c.DeleteAllOf(context.Background(), &v1alpha1.JupyterServer{}, client.InNamespace(namespace.Name)); err != nil {
			t.Errorf("deleting the servers of a namespace: %v", err)
		}
	})
	return namespace.Name
}

// EnsureNamespace creates a namespace unless it exists.
func EnsureNamespace(t testing.TB, c client.Client, name string, labels map[string]string) {
	t.Helper()
	err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("creating the namespace %s: %v", name, err)
	}
}

// Manifest returns a server as a user would write it: without a status, and without the zero values that Go encodes, which would
// override the defaults of the CRD.
func Manifest(server *v1alpha1.JupyterServer) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(server)
	if err != nil {
		return nil, fmt.Errorf("encoding the server: %w", err)
	}
	content := map[string]any{}
	if err := utiljson.Unmarshal(raw, &content); err != nil { // with integers, unlike encoding/json
		return nil, fmt.Errorf("decoding the server: %w", err)
	}
	delete(content, "status")
	dropZero(content)
	o := &unstructured.Unstructured{Object: content}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
	return o, nil
}

func dropZero(m map[string]any) {
	for key, value := range m {
		if child, ok := value.(map[string]any); ok {
			dropZero(child)
			if len(child) == 0 && key != "emptyDir" {
				delete(m, key)
			}
			continue
		}
		if value == nil || value == "" || value == false {
			delete(m, key)
		}
	}
}

// IsReleased reports whether the current spec of a server is released.
func IsReleased(server *v1alpha1.JupyterServer) bool {
	released := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReleased)
	return released != nil && released.Status == metav1.ConditionTrue && released.ObservedGeneration == server.Generation
}

// Helm runs the stock Helm in a namespace and returns its stdout.
func Helm(t testing.TB, kubeconfig, namespace string, args ...string) string {
	t.Helper()
	program := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm")
	args = append(args, "--kubeconfig", kubeconfig, "--namespace", namespace)
	out, err := exec.CommandContext(t.Context(), program, args...).Output() //nolint:gosec // the arguments are those of tests
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("helm %v: %v", args, err)
	}
	return string(out)
}

// RoundTripper is a function that sends an HTTP request and returns the response.
type RoundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f RoundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
