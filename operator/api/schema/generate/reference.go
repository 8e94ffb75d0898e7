// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// section is one of our own types, at one place of the resource.
type section struct {
	path   string
	goType reflect.Type
	schema apiextensionsv1.JSONSchemaProps
}

// reference lists every field of the CRD, our own types in full and those of Kubernetes by their name.
func reference(crd *apiextensionsv1.CustomResourceDefinition) []byte {
	var out bytes.Buffer
	version := crd.Spec.Versions[0]
	root := version.Schema.OpenAPIV3Schema
	fmt.Fprint(&out, "<!-- Generated from the CRD by `make generate`. Do not edit. -->\n\n# Reference of the JupyterServer\n\n")
	fmt.Fprintf(&out, "`apiVersion: %s/%s`, `kind: %s`, namespaced. Short name `%s`, category `%s`.\n\n",
		crd.Spec.Group, version.Name, crd.Spec.Names.Kind, strings.Join(crd.Spec.Names.ShortNames, "`, `"), strings.Join(crd.Spec.Names.Categories, "`, `"))
	fmt.Fprint(&out, "`kubectl explain jupyterserver.spec` prints the same texts. Types such as `core/v1 EnvVar` are those of Kubernetes, with\nall their fields.\n\n")
	rules(&out, *root)

	sections := []section{
		{"spec", reflect.TypeFor[v1alpha1.JupyterServerSpec](), root.Properties["spec"]},
		{"status", reflect.TypeFor[v1alpha1.JupyterServerStatus](), root.Properties["status"]},
	}
	for len(sections) > 0 {
		below := write(&out, sections[0])
		sections = append(below, sections[1:]...)
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n')
}

// write writes the table of one section, and returns the sections of its fields.
func write(out *bytes.Buffer, s section) []section {
	fmt.Fprintf(out, "## `%s`\n\n%s\n\n| field | type | default | description |\n|---|---|---|---|\n", s.path, oneLine(s.schema.Description))
	var below []section
	for i := range s.goType.NumField() {
		name := jsonName(s.goType.Field(i))
		schema, known := s.schema.Properties[name]
		if !known {
			continue
		}
		goType := indirect(s.goType.Field(i).Type)
		fieldPath := s.path + "." + name
		item, itemSchema, suffix := goType, schema, ""
		if goType.Kind() == reflect.Slice {
			item, itemSchema, suffix = indirect(goType.Elem()), *schema.Items.Schema, "[]"
		}
		if item.Kind() == reflect.Struct && isOurs(item) {
			if itemSchema.Description == "" || suffix != "" {
				itemSchema.Description = schema.Description
			}
			below = append(below, section{fieldPath + suffix, item, itemSchema})
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", fieldPath, typeName(goType, schema, fieldPath), defaultOf(s.schema, name, schema), cell(description(schema, item)))
	}
	fmt.Fprintln(out)
	rules(out, s.schema)
	return below
}

// rules lists the rules of CEL that look at more than one field.
func rules(out *bytes.Buffer, schema apiextensionsv1.JSONSchemaProps) {
	if len(schema.XValidations) == 0 {
		return
	}
	fmt.Fprint(out, "Rules:\n\n")
	for _, rule := range schema.XValidations {
		message := rule.Message
		if rule.FieldPath != "" {
			message = "`" + strings.TrimPrefix(rule.FieldPath, ".") + "` " + message
		}
		fmt.Fprintf(out, "- %s\n", oneLine(message))
	}
	fmt.Fprintln(out)
}

// description is the text of a field with the limits that its own schema sets.
func description(schema apiextensionsv1.JSONSchemaProps, item reflect.Type) string {
	parts := []string{oneLine(schema.Description)}
	if len(schema.Enum) > 0 {
		var values []string
		for _, value := range schema.Enum {
			values = append(values, "`"+strings.Trim(string(value.Raw), `"`)+"`")
		}
		parts = append(parts, "One of "+strings.Join(values, ", ")+".")
	}
	if item.Kind() != reflect.Struct || !isOurs(item) { // else they stand in the section of the type
		for _, rule := range schema.XValidations {
			parts = append(parts, "It "+strings.TrimSuffix(oneLine(rule.Message), ".")+".")
		}
	}
	switch {
	case schema.MaxLength != nil:
		parts = append(parts, fmt.Sprintf("At most %d characters.", *schema.MaxLength))
	case schema.MaxItems != nil:
		parts = append(parts, fmt.Sprintf("At most %d items.", *schema.MaxItems))
	case schema.MaxProperties != nil:
		parts = append(parts, fmt.Sprintf("At most %d entries.", *schema.MaxProperties))
	}
	return strings.Join(parts, " ")
}

func defaultOf(parent apiextensionsv1.JSONSchemaProps, name string, schema apiextensionsv1.JSONSchemaProps) string {
	switch {
	case schema.Default != nil && strings.HasPrefix(string(schema.Default.Raw), "{"):
		return "" // the defaults stand at its fields
	case schema.Default != nil:
		return "`" + strings.Trim(string(schema.Default.Raw), `"`) + "`"
	case slices.Contains(parent.Required, name):
		return "required"
	}
	return ""
}

func typeName(t reflect.Type, schema apiextensionsv1.JSONSchemaProps, fieldPath string) string {
	t = indirect(t)
	switch {
	case schema.XIntOrString:
		return "quantity"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem(), *schema.Items.Schema, fieldPath+"[]")
	case t.Kind() == reflect.Map:
		return "map to " + typeName(t.Elem(), *schema.AdditionalProperties.Schema, fieldPath)
	case t.Kind() == reflect.Struct && isOurs(t):
		return "[object](#" + anchor(fieldPath) + ")"
	case t.Kind() == reflect.Struct && schema.Format == "date-time":
		return "time"
	case t.Kind() == reflect.Struct:
		return "`" + path.Base(path.Dir(t.PkgPath())) + "/" + path.Base(t.PkgPath()) + " " + t.Name() + "`"
	}
	return schema.Type
}

// anchor is the anchor that Markdown renderers give a heading.
func anchor(heading string) string {
	keep := func(r rune) rune {
		if r == '.' || r == '[' || r == ']' {
			return -1
		}
		return r
	}
	return strings.Map(keep, strings.ToLower(heading))
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
