// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// shorten leaves the descriptions of Kubernetes' own types out of a CRD. With them its JSON is larger than an annotation may be
// (256 KiB, k8s.io/apimachinery/pkg/api/validation), so that client-side `kubectl apply` and Argo CD could not apply it.
func shorten(raw []byte) ([]byte, error) {
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(raw, &crd.Object); err != nil {
		return nil, fmt.Errorf("reading the CRD: %w", err)
	}
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil {
		return nil, fmt.Errorf("reading the CRD: %w", err)
	}
	for i := range versions {
		version, _ := versions[i].(map[string]any)
		root, _, err := unstructured.NestedMap(version, "schema", "openAPIV3Schema")
		if err != nil {
			return nil, fmt.Errorf("reading the schema: %w", err)
		}
		cut(root, reflect.TypeFor[v1alpha1.JupyterServer]())
		if err := unstructured.SetNestedMap(version, root, "schema", "openAPIV3Schema"); err != nil {
			return nil, fmt.Errorf("writing the schema: %w", err)
		}
	}
	if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
		return nil, fmt.Errorf("writing the versions: %w", err)
	}
	shortened, err := yaml.Marshal(crd.Object)
	return append([]byte("---\n"), shortened...), err
}

// cut removes the descriptions below a schema but those of fields of our own types. The type is nil inside Kubernetes types.
func cut(schema map[string]any, t reflect.Type) {
	t = indirect(t)
	for _, key := range []string{"items", "additionalProperties"} {
		if below, ok := schema[key].(map[string]any); ok {
			if item := indirect(element(t)); item == nil || !isOurs(item) {
				delete(below, "description")
			}
			cut(below, element(t))
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		below, isSchema := property.(map[string]any)
		if !isSchema {
			continue
		}
		field, ours := ourField(t, name)
		if !ours {
			delete(below, "description")
		}
		cut(below, field)
	}
}
