// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// section is one of our own types at one path of the resource.
type section struct {
	path   string
	goType reflect.Type
	schema apiextensionsv1.JSONSchemaProps
}

// reference lists every field of the CRD, our own types in full and those of Kubernetes by their name. A rule that it cannot tell is
// an error.
func reference(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	var out bytes.Buffer
	version := crd.Spec.Versions[0]
	root := version.Schema.OpenAPIV3Schema
	fmt.Fprint(&out, "<!-- Generated from the CRD by `make generate`. Do not edit. -->\n\n# Reference of the JupyterServer\n\n")
	fmt.Fprintf(&out, "`apiVersion: %s/%s`, `kind: %s`, namespaced. Short name `%s`, category `%s`.\n\n",
		crd.Spec.Group, version.Name, crd.Spec.Names.Kind, strings.Join(crd.Spec.Names.ShortNames, "`, `"), strings.Join(crd.Spec.Names.Categories, "`, `"))
	fmt.Fprint(&out, "`kubectl explain jupyterserver.spec` prints the same descriptions. Types such as `core/v1 EnvVar` are Kubernetes types with\nall their fields.\n\n")
	rules(&out, *root)

	sections := []section{
		{"spec", reflect.TypeFor[v1alpha1.JupyterServerSpec](), root.Properties["spec"]},
		{"status", reflect.TypeFor[v1alpha1.JupyterServerStatus](), root.Properties["status"]},
	}
	for _, schema := range []apiextensionsv1.JSONSchemaProps{*root, sections[0].schema, sections[1].schema} {
		// They are fields of no section, where all but their rules of CEL would stand.
		if own, err := limits(schema, sections[0].goType); err != nil || len(own) > 0 {
			return nil, cmp.Or(err, fmt.Errorf("%s has no place for a rule of the whole resource, its spec or its status: %q", referenceFile, own))
		}
	}
	for len(sections) > 0 {
		below, err := write(&out, sections[0])
		if err != nil {
			return nil, err
		}
		sections = append(below, sections[1:]...)
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n'), nil
}

// write writes the table of one section, and returns the sections of its fields.
func write(out *bytes.Buffer, s section) ([]section, error) {
	fmt.Fprintf(out, "## `%s`\n\n%s\n\n| field | type | default | description |\n|---|---|---|---|\n", s.path, oneLine(s.schema.Description))
	var below []section
	for field := range s.goType.Fields() {
		name := jsonName(field)
		schema, known := s.schema.Properties[name]
		if !known {
			continue
		}
		goType := indirect(field.Type)
		fieldPath := s.path + "." + name
		text, err := description(schema, goType)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fieldPath, err)
		}
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
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", fieldPath, typeName(goType, schema, fieldPath), defaultOf(s.schema, name, schema), cell(text))
	}
	fmt.Fprintln(out)
	rules(out, s.schema)
	return below, nil
}

// rules lists the CEL rules that involve more than one field.
func rules(out *bytes.Buffer, schema apiextensionsv1.JSONSchemaProps) {
	if len(schema.XValidations) == 0 {
		return
	}
	fmt.Fprint(out, "Rules:\n\n")
	for _, rule := range schema.XValidations {
		message := messageOf(rule)
		if rule.FieldPath != "" {
			message = "`" + strings.TrimPrefix(rule.FieldPath, ".") + "` " + message
		}
		fmt.Fprintf(out, "- %s\n", oneLine(message))
	}
	fmt.Fprintln(out)
}

// messageOf is what a rule of CEL says when it is broken, or the rule itself.
func messageOf(rule apiextensionsv1.ValidationRule) string {
	return cmp.Or(rule.Message, "must hold: `"+rule.Rule+"`")
}

// description is the text of a field, with the rules that its own schema sets, and those that it sets for what a list or a map
// holds. The rules of CEL of one of our own types stand in the section of the type.
func description(schema apiextensionsv1.JSONSchemaProps, t reflect.Type) (string, error) {
	own, err := limits(schema, t)
	if err != nil {
		return "", err
	}
	parts := append([]string{oneLine(schema.Description)}, own...)
	for _, within := range []struct {
		subject string
		schema  *apiextensionsv1.JSONSchemaProps
	}{{"Each item", itemsOf(schema)}, {"Each value", valuesOf(schema)}} {
		if within.schema == nil || !isPrinted(element(t)) {
			continue
		}
		each, err := limits(*within.schema, element(t))
		if err != nil {
			return "", err
		}
		for _, limit := range each {
			parts = append(parts, within.subject+": "+strings.ToLower(limit[:1])+limit[1:])
		}
	}
	return strings.Join(parts, " "), nil
}

// isPrinted reports whether a type is described in full: one of ours, or one without a name. Those of Kubernetes are named.
func isPrinted(t reflect.Type) bool {
	t = indirect(t)
	return t != nil && (t.Kind() != reflect.Struct || isOurs(t))
}

func itemsOf(schema apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if schema.Items == nil {
		return nil
	}
	return schema.Items.Schema
}

func valuesOf(schema apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if schema.AdditionalProperties == nil {
		return nil
	}
	return schema.AdditionalProperties.Schema
}

// limits are the rules that a schema sets for its value, one sentence each.
func limits(schema apiextensionsv1.JSONSchemaProps, t reflect.Type) ([]string, error) {
	if err := onlyKnown(schema, referenceFile); err != nil {
		return nil, err
	}
	var out []string
	if len(schema.Enum) > 0 {
		var values []string
		for _, value := range schema.Enum {
			values = append(values, "`"+strings.Trim(string(value.Raw), `"`)+"`")
		}
		out = append(out, "One of "+strings.Join(values, ", ")+".")
	}
	if t := indirect(t); t == nil || t.Kind() != reflect.Struct || !isOurs(t) {
		for _, rule := range schema.XValidations {
			out = append(out, "It "+strings.TrimSuffix(oneLine(messageOf(rule)), ".")+".")
		}
	}
	if schema.Pattern != "" {
		out = append(out, "It must match `"+schema.Pattern+"`.")
	}
	switch schema.Format {
	case "", "date-time", "int32", "int64": // the type tells
	default:
		out = append(out, "It must have the format `"+schema.Format+"`.")
	}
	for _, bounds := range []string{
		between(schema.Minimum, schema.Maximum, "", ""),
		between(schema.MinLength, schema.MaxLength, " character", " characters"),
		between(schema.MinItems, schema.MaxItems, " item", " items"),
		between(schema.MinProperties, schema.MaxProperties, " entry", " entries"),
	} {
		if bounds != "" {
			out = append(out, bounds)
		}
	}
	switch {
	case schema.XListType != nil && *schema.XListType == "set":
		out = append(out, "No two of them may be the same.")
	case len(schema.XListMapKeys) > 0:
		out = append(out, "No two of them may have the same `"+strings.Join(schema.XListMapKeys, "` and `")+"`.")
	}
	return out, nil
}

// between is the sentence of a lower and an upper bound, either of which may be missing.
func between[N int64 | float64](least, most *N, one, several string) string {
	unit := func(n N) string {
		if n == 1 {
			return one
		}
		return several
	}
	number := func(n N) string { return strconv.FormatFloat(float64(n), 'f', -1, 64) }
	switch {
	case least != nil && most != nil:
		return "From " + number(*least) + " to " + number(*most) + unit(*most) + "."
	case least != nil:
		return "At least " + number(*least) + unit(*least) + "."
	case most != nil:
		return "At most " + number(*most) + unit(*most) + "."
	}
	return ""
}

func defaultOf(parent apiextensionsv1.JSONSchemaProps, name string, schema apiextensionsv1.JSONSchemaProps) string {
	switch {
	case schema.Default != nil && strings.HasPrefix(string(schema.Default.Raw), "{"):
		return "" // its fields list the defaults
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

// anchor returns the anchor that Markdown renderers generate for a heading.
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
