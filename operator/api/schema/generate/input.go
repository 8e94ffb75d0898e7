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

// inputSchema describes the input of the policies (policies/input.go) for OPA's type checker, which finds misspelled fields in
// rules with it. It contains only what the checker understands: types and field names. An object with properties has no other
// fields; one without may have any.
func inputSchema(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	version := crd.Spec.Versions[0]
	spec, err := checked(version.Schema.OpenAPIV3Schema.Properties["spec"], reflect.TypeFor[v1alpha1.JupyterServerSpec]())
	if err != nil {
		return nil, err
	}
	meta := checkedType(reflect.TypeFor[metav1.ObjectMeta]())
	if properties, ok := meta["properties"].(object); ok {
		delete(properties, "managedFields") // not part of the input of rules
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
				"description": "The operation on the server. CREATE is also used before every release."},
			"object":    server("object", "The server, with defaults."),
			"oldObject": server(orNull("object"), "The server before an update, otherwise null."),
			"namespace": with(checkedType(reflect.TypeFor[policies.Namespace]()), "description", "The server's namespace."),
			"user": with(checkedType(reflect.TypeFor[policies.User]()), "description",
				"The user who made the request. Only the webhook knows it."),
			"objects":  rendered("The rendered objects of the server, including patches."),
			"expected": rendered("The rendered objects without spec.patches."),
			"routes": object{"type": "array", "items": checkedType(reflect.TypeFor[policies.Route]()),
				"description": "The routes of other servers."},
			"config":  object{"description": "The settings of the configuration."},
			"settled": object{"description": "The settings of the enabled rules, merged into the defaults."},
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

// checked converts a schema of the CRD to one for the checker. It keeps the descriptions of our own types.
func checked(in apiextensionsv1.JSONSchemaProps, t reflect.Type) (object, error) {
	if err := onlyKnown(in, inputFile); err != nil {
		return nil, err
	}
	t = indirect(t)
	switch {
	case in.XIntOrString:
		// The checker does not support a list of types here.
		return object{"anyOf": []object{{"type": "integer"}, {"type": "string"}}}, nil
	case in.Type == "" || in.XPreserveUnknownFields != nil:
		return object{}, nil // any type with any fields
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

// checkedType returns the schema of a Go type's JSON. It supports only the types that occur in the input.
func checkedType(t reflect.Type) object {
	t = indirect(t)
	switch {
	case t == reflect.TypeFor[metav1.Time]():
		return object{"type": "string"}
	case t.Kind() == reflect.Struct:
		properties := object{}
		for field := range t.Fields() {
			if name := jsonName(field); name != "" && name != "-" {
				properties[name] = checkedType(field.Type)
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

// orNull is for types that Go encodes as null when empty. The checker ignores the null.
func orNull(jsonType string) []string { return []string{jsonType, "null"} }
