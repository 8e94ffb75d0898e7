// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// layout distributes servers over namespaces. Server 0 is the sample, in its own namespace; the measured ones start at 1. All names
// and all namespaces have the same length, so that they can be substituted in an encoded body (see recording).
type layout struct {
	perNamespace int // 0: all in one
}

func name(i int) string { return fmt.Sprintf("server-%05d", i) }

func (l layout) namespace(i int) string {
	switch {
	case i == 0:
		return "bench-00000"
	case l.perNamespace == 0:
		return "bench-00001"
	}
	return fmt.Sprintf("bench-%05d", 1+(i-1)/l.perNamespace)
}

// namespaces returns the number of namespaces of n servers.
func (l layout) namespaces(n int) int {
	if l.perNamespace == 0 {
		return 1
	}
	return (n + l.perNamespace - 1) / l.perNamespace
}

// server returns the manifest of a user: everything but the route has its default.
func (l layout) server(i int) *unstructured.Unstructured {
	server := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"routing": map[string]any{"host": "bench.example.org", "path": "/" + name(i)}},
	}}
	server.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
	server.SetName(name(i))
	server.SetNamespace(l.namespace(i))
	return server
}

// newImage is the image that servers are updated to.
const newImage = `{"spec":{"jupyterServer":{"image":"quay.io/jupyter/scipy-notebook:latest"}}}`
