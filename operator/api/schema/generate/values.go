// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// object is a JSON object. Its keys are encoded in alphabetical order.
type object = map[string]any

// valuesSchema is the JSON schema of the chart's values: the spec, and the section that the operator adds. It is as strict as the
// CRD, except for CEL rules, which JSON schema cannot express.
func valuesSchema(spec apiextensionsv1.JSONSchemaProps) ([]byte, error) {
	schema, err := jsonSchema(spec, reflect.TypeFor[v1alpha1.JupyterServerSpec]())
	if err != nil {
		return nil, err
	}
	properties, ok := schema["properties"].(object)
	if !ok {
		return nil, errors.New("the spec of the CRD has no properties")
	}
	selector, err := jsonSchema(labelSelector(spec), nil)
	if err != nil {
		return nil, err
	}
	properties["operator"] = operatorSection(selector)
	properties["global"] = object{"type": "object", "description": "Helm adds it to subcharts. It is not used."}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["$comment"] = "Generated from the CRD of JupyterServers by `make generate`. Do not edit."
	schema["title"] = "Values of the chart of one Jupyter server"

	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(schema); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// labelSelector returns the schema of a label selector, taken from a field of the spec that has one.
func labelSelector(spec apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
	return spec.Properties["scheduling"].Properties["topologySpreadConstraints"].Items.Schema.Properties["labelSelector"]
}

// operatorSection describes the values that are not part of the spec (see operator/internal/render/values.go).
func operatorSection(selector object) object {
	text := func(description string) object { return object{"type": "string", "description": description} }
	peer := closed(object{
		"podSelector":       selector,
		"namespaceSelector": selector,
		"ipBlock": with(closed(object{
			"cidr":   object{"type": "string"},
			"except": object{"type": "array", "items": object{"type": "string"}},
		}), "required", []string{"cidr"}),
	})
	peers := func(description string) object {
		return object{"type": "array", "items": peer, "description": description}
	}
	policy := closed(object{
		"enabled":     object{"type": "boolean", "description": "Create a NetworkPolicy."},
		"ingressFrom": peers("The peers that can connect to the server's port. If empty, all can."),
	})
	access := closed(object{
		"proxyImage":         text("The traefik image."),
		"authorizationImage": text("The image of the operator, which contains the authorization service."),
		"imagePullPolicy":    object{"type": "string", "enum": []string{"Always", "IfNotPresent", "Never"}},
		"profile":            text("The authentication plugin: oauth2-proxy, or the name of one of the profiles."),
		"profiles": object{"type": "array", "items": object{"type": "object"},
			"description": "Additional authentication plugins. The post-renderer validates them."},
		"operatorFrom": peers("The peers that can check the access control. If empty, only the node can."),
	})
	port := object{"type": "integer", "minimum": 1, "maximum": 65535}
	return with(closed(object{
		"ingressClassName": text("The ingress class of servers that do not set one."),
		"httpPort":         port,
		"httpsPort":        port,
		"access":           with(access, "description", "The sidecars that protect Jupyter with auth.mode oidc."),
		"networkPolicy":    policy,
		"secretsChecksum":  text("A checksum of the Secrets that the pod reads only when it starts."),
	}), "description", "The values that the operator adds to the spec.")
}

func closed(properties object) object {
	return object{"type": "object", "properties": properties, "additionalProperties": false}
}

func with(schema object, key string, value any) object {
	schema[key] = value
	return schema
}

// jsonSchema converts a schema of the CRD to a JSON schema. It keeps the descriptions of our own types only: those of Kubernetes
// would make the file ten times as large. The type is nil inside Kubernetes types.
func jsonSchema(in apiextensionsv1.JSONSchemaProps, t reflect.Type) (object, error) {
	if err := onlyKnown(in, valuesFile); err != nil {
		return nil, err
	}
	out := object{}
	if in.XIntOrString {
		out["type"] = []string{"integer", "string"}
	} else if in.Type != "" {
		out["type"] = in.Type
	}
	if in.Default != nil {
		out["default"] = json.RawMessage(in.Default.Raw)
	}
	if len(in.Enum) > 0 {
		out["enum"] = in.Enum
	}
	if len(in.Required) > 0 {
		out["required"] = in.Required
	}
	if in.Pattern != "" {
		out["pattern"] = in.Pattern
	}
	for key, limit := range map[string]*int64{
		"minLength": in.MinLength, "minItems": in.MinItems, "maxItems": in.MaxItems,
		"minProperties": in.MinProperties, "maxProperties": in.MaxProperties,
		"maxLength": in.MaxLength,
	} {
		if limit != nil {
			out[key] = *limit
		}
	}
	if in.Minimum != nil {
		out["minimum"] = *in.Minimum
	}
	if in.Maximum != nil {
		out["maximum"] = *in.Maximum
	}
	return out, children(out, in, t)
}

func children(out object, in apiextensionsv1.JSONSchemaProps, t reflect.Type) error {
	t = indirect(t)
	if in.Items != nil {
		items, err := jsonSchema(*in.Items.Schema, element(t))
		if err != nil {
			return err
		}
		out["items"] = items
	}
	if in.AdditionalProperties != nil && in.AdditionalProperties.Schema != nil {
		additional, err := jsonSchema(*in.AdditionalProperties.Schema, element(t))
		if err != nil {
			return err
		}
		out["additionalProperties"] = additional
	}
	if len(in.Properties) == 0 {
		return nil
	}
	properties := object{}
	for name, property := range in.Properties {
		fieldType, ours := ourField(t, name)
		child, err := jsonSchema(property, fieldType)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if ours && property.Description != "" {
			child["description"] = strings.Join(strings.Fields(property.Description), " ")
		}
		properties[name] = child
	}
	out["properties"] = properties
	if in.XPreserveUnknownFields == nil {
		out["additionalProperties"] = false
	}
	return nil
}

func indirect(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// element returns the type of the items of a list or map.
func element(t reflect.Type) reflect.Type {
	if t == nil || (t.Kind() != reflect.Slice && t.Kind() != reflect.Map) {
		return nil
	}
	return t.Elem()
}

func fieldByJSONName(t reflect.Type, name string) reflect.Type {
	for field := range t.Fields() {
		if jsonName(field) == name {
			return field.Type
		}
	}
	return nil
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
