// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// known are the keywords that each generator knows: what they say stands in its file, or is not for the readers of that.
var known = []string{
	"type", "description", "default", "format", "enum", "required",
	"pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties",
	"x-kubernetes-validations", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
	"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
}

// onlyKnown returns an error for a schema with a keyword that is not known, and would be lost in a file. It does not look at the
// schemas within.
func onlyKnown(schema apiextensionsv1.JSONSchemaProps, file string) error {
	schema.Properties, schema.Items, schema.AdditionalProperties = nil, nil, nil // known, and large
	raw, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	var keywords map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keywords); err != nil {
		return err
	}
	for _, keyword := range slices.Sorted(maps.Keys(keywords)) {
		// With it, anyOf says once more that there may be a number or a text.
		isIntOrString := keyword == "anyOf" && schema.XIntOrString
		if !isIntOrString && !slices.Contains(known, keyword) {
			return fmt.Errorf("the CRD uses %s, which the generator of %s does not know", keyword, file)
		}
	}
	return nil
}
