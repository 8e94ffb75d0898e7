// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// inputSchema describes the input of the policies (policies/input.go) for OPA's type checker, which finds misspelt fields
// in rules with it. It holds what the checker understands, and no more: types, and names of fields. An object with
// properties has no others there; one without may have any.
func inputSchema(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	version := crd.Spec.Versions[0]
	spec, err := checked(version.Schema.OpenAPIV3Schema.Properties["spec"], reflect.TypeFor[v1alpha1.JupyterServerSpec]())
	if err != nil {
		return nil, err
	}
	meta := checkedType(reflect.TypeFor[metav1.ObjectMeta]())
	if properties, ok := meta["properties"].(object); ok {
		delete(properties, "managedFields") // the rules are not given them
	}
	server := func(types any, description string) object {
		return object{"type": types, "description": description, "properties": object{
			"apiVersion": object{"type": "string", "enum": []string{crd.Spec.Group + "/" + version.Name}},
			"kind":       object{"type": "string", "enum": []string{crd.Spec.Names.Kind}},
			"metadata":   object{"$ref": "#/definitions/metadata"},
			"spec":       object{"$ref": "#/definitions/spec"},
		}}
	}
	rendered := func(description string) object {
		return object{"type": "array", "items": object{"type": "object"}, "description": description}
	}
	schema := object{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"$comment":    "Generated from the CRD of JupyterServers by `make generate`. Do not edit.",
		"title":       "The input of the policies",
		"definitions": object{"metadata": meta, "spec": spec},
		"type":        "object",
		"properties": object{
			"operation": object{"type": "string", "enum": []policies.Operation{policies.Create, policies.Update},
				"description": "What happens to the server. CREATE is also asked before every release."},
			"object":    server("object", "The server, with defaults."),
			"oldObject": server(orNull("object"), "What it was before an update, else null."),
			"namespace": with(checkedType(reflect.TypeFor[policies.Namespace]()), "description", "The server's namespace."),
			"user": with(checkedType(reflect.TypeFor[policies.User]()), "description",
				"Who asks. Known to the webhook only."),
			"objects":  rendered("What the server renders to, patches included."),
			"expected": rendered("What it renders to without spec.patches."),
			"routes": object{"type": "array", "items": checkedType(reflect.TypeFor[policies.Route]()),
				"description": "Where other servers are reached."},
			"config":  object{"description": "The admin's settings."},
			"settled": object{"description": "The settings of the rules that are on, over the defaults."},
		},
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(schema); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// checked turns a schema of the CRD into one for the checker. Descriptions stay where the type is ours.
func checked(in apiextensionsv1.JSONSchemaProps, t reflect.Type) (object, error) {
	if err := onlyKnown(in, inputFile); err != nil {
		return nil, err
	}
	t = indirect(t)
	switch {
	case in.XIntOrString:
		// A list of types would be taken for its text alone.
		return object{"anyOf": []object{{"type": "integer"}, {"type": "string"}}}, nil
	case in.Type == "" || in.XPreserveUnknownFields != nil:
		return object{}, nil // anything, and any field of it
	case in.Items != nil:
		items, err := checked(*in.Items.Schema, element(t))
		return object{"type": in.Type, "items": items}, err
	case len(in.Properties) == 0:
		return object{"type": in.Type}, nil
	}
	properties := object{}
	for name, property := range in.Properties {
		fieldType, ours := ourField(t, name)
		child, err := checked(property, fieldType)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if ours && property.Description != "" {
			child["description"] = oneLine(property.Description)
		}
		properties[name] = child
	}
	return object{"type": in.Type, "properties": properties}, nil
}

// checkedType is the schema of what a Go type is in JSON. It knows what the types of the input are made of.
func checkedType(t reflect.Type) object {
	t = indirect(t)
	switch {
	case t == reflect.TypeFor[metav1.Time]():
		return object{"type": "string"}
	case t.Kind() == reflect.Struct:
		properties := object{}
		for i := range t.NumField() {
			if name := jsonName(t.Field(i)); name != "" && name != "-" {
				properties[name] = checkedType(t.Field(i).Type)
			}
		}
		return object{"type": "object", "properties": properties}
	case t.Kind() == reflect.Slice:
		return object{"type": orNull("array"), "items": checkedType(t.Elem())}
	case t.Kind() == reflect.Map:
		return object{"type": orNull("object")}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case strings.HasPrefix(t.Kind().String(), "int"):
		return object{"type": "integer"}
	case t.Kind() == reflect.String:
		return object{"type": "string"}
	}
	return object{}
}

// orNull is for what Go writes as null where there is none. The checker passes over the null.
func orNull(jsonType string) []string { return []string{jsonType, "null"} }
