// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command generate shortens the CRD, and generates from it the values schema of the chart of one server, the schema of the policies'
// input, and the reference of all fields. It generates the table of rules from the annotations of the policies. `make generate` runs it in the
// root of the project, after controller-gen has generated the CRD.
package main

import (
	"fmt"
	"os"
	"reflect"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const (
	crdFile       = "operator/api/schema/jupyterserver.dev_jupyterservers.yaml"
	chartCRDFile  = "helm-chart/files/jupyterserver.dev_jupyterservers.yaml"
	valuesFile    = "chart-jupyter-server/values.schema.json"
	inputFile     = "policies/schema/input.json"
	referenceFile = "docs/reference.md"
	policiesFile  = "docs/policies.md"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func generate() error {
	raw, err := os.ReadFile(crdFile)
	if err != nil {
		return err
	}
	if raw, err = shorten(raw); err != nil {
		return err
	}
	for _, file := range []string{crdFile, chartCRDFile} {
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			return err
		}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(raw, crd); err != nil {
		return fmt.Errorf("reading %s: %w", crdFile, err)
	}
	root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	values, err := valuesSchema(root.Properties["spec"])
	if err != nil {
		return err
	}
	if err := os.WriteFile(valuesFile, values, 0o644); err != nil {
		return err
	}
	input, err := inputSchema(crd)
	if err != nil {
		return err
	}
	if err := os.WriteFile(inputFile, input, 0o644); err != nil {
		return err
	}
	fields, err := reference(crd)
	if err != nil {
		return err
	}
	if err := os.WriteFile(referenceFile, fields, 0o644); err != nil {
		return err
	}
	return writeRules(policiesFile)
}

// isOurs reports whether a type is declared in the API package, and not in Kubernetes.
func isOurs(t reflect.Type) bool {
	return t.PkgPath() == reflect.TypeFor[v1alpha1.JupyterServer]().PkgPath()
}

// ourField returns the type of a field of one of our own types. It returns false for other types.
func ourField(t reflect.Type, name string) (field reflect.Type, ours bool) {
	if t == nil || t.Kind() != reflect.Struct || !isOurs(t) {
		return nil, false
	}
	return fieldByJSONName(t, name), true
}
