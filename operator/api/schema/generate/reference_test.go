// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const referenceFromHere = "../../../../docs/reference.md"

// Every rule of the CRD stands in docs/reference.md: in the row of its field, or below the table of its type. This test reads the CRD
// by itself, so that it finds what the generator forgets. Rules within the types of Kubernetes are those of Kubernetes.
func TestReferenceHoldsEveryRule(t *testing.T) {
	raw, err := os.ReadFile(referenceFromHere)
	if err != nil {
		t.Fatal(err)
	}
	c := &ruleCheck{T: t, page: string(raw)}
	root := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	for _, rule := range root.XValidations {
		c.holds("the resource", rule.Message, c.page)
	}
	c.fields("spec", root.Properties["spec"], reflect.TypeFor[v1alpha1.JupyterServerSpec]())
	c.fields("status", root.Properties["status"], reflect.TypeFor[v1alpha1.JupyterServerStatus]())
	if c.rules < 100 {
		t.Errorf("only %d rules were found in the CRD", c.rules)
	}
}

// ruleCheck looks for rules in the page.
type ruleCheck struct {
	*testing.T
	page  string
	rules int
}

// fields checks a type of ours: its rules, and its fields.
func (c *ruleCheck) fields(path string, schema apiextensionsv1.JSONSchemaProps, t reflect.Type) {
	_, section, _ := strings.Cut(c.page, "## `"+path+"`\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, rule := range schema.XValidations {
		c.holds(path, rule.Message, section)
	}
	for name, property := range schema.Properties {
		fieldType, _ := ourField(t, name)
		c.field(path+"."+name, property, indirect(fieldType), row(c.page, path+"."+name))
	}
}

// field checks what stands in the row of a field, and goes on with what the field holds.
func (c *ruleCheck) field(path string, schema apiextensionsv1.JSONSchemaProps, t reflect.Type, row string) {
	if row == "" {
		c.Errorf("%s has no row in docs/reference.md: run `make generate`", path)
		return
	}
	if t.Kind() == reflect.Struct && isOurs(t) {
		withoutRules := schema
		withoutRules.XValidations = nil
		c.keywords(path, withoutRules, row)
		c.fields(path, schema, t)
		return
	}
	c.keywords(path, schema, row)
	switch {
	case t.Kind() == reflect.Slice && (indirect(t.Elem()).Kind() != reflect.Struct || isOurs(indirect(t.Elem()))):
		c.field(path+"[]", *schema.Items.Schema, indirect(t.Elem()), row)
	case t.Kind() == reflect.Map:
		c.field(path+"{}", *schema.AdditionalProperties.Schema, indirect(t.Elem()), row)
	}
}

// bounds are what a row says of the keywords whose value is a number.
var bounds = map[string]string{
	"minimum":       `(from|at least) %s( to \d+)?\.`,
	"maximum":       `(to|at most) %s\.`,
	"minLength":     `(from|at least) %s( to \d+)? characters?\.`,
	"maxLength":     `(to|at most) %s characters?\.`,
	"minItems":      `(from|at least) %s( to \d+)? items?\.`,
	"maxItems":      `(to|at most) %s items?\.`,
	"minProperties": `(from|at least) %s( to \d+)? entr(y|ies)\.`,
	"maxProperties": `(to|at most) %s entr(y|ies)\.`,
}

// keywords checks that a row holds what each keyword of a schema says.
func (c *ruleCheck) keywords(path string, schema apiextensionsv1.JSONSchemaProps, row string) {
	var all map[string]any
	raw, err := json.Marshal(schema)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		c.Fatal(err)
	}
	for _, keyword := range slices.Sorted(maps.Keys(all)) {
		from := path + ", " + keyword
		switch value := all[keyword].(type) {
		case float64:
			c.rules++
			if bounds[keyword] == "" || !regexp.MustCompile("(?i)"+fmt.Sprintf(bounds[keyword], strconv.FormatFloat(value, 'f', -1, 64))).MatchString(row) {
				c.Errorf("docs/reference.md does not tell of %s, which is %v: %q", from, value, row)
			}
		case string:
			if keyword == "pattern" {
				c.holds(from, cell(value), row)
			}
		case []any:
			for _, item := range value {
				switch keyword {
				case "enum", "x-kubernetes-list-map-keys":
					c.holds(from, fmt.Sprintf("`%v`", item), row)
				case "x-kubernetes-validations":
					c.holds(from, strings.TrimSuffix(fmt.Sprint(item.(map[string]any)["message"]), "."), row)
				}
			}
		}
		if keyword == "x-kubernetes-list-type" && all[keyword] == "set" {
			c.holds(from, "No two of them may be the same", row)
		}
	}
}

// holds checks that a text holds a sentence or a name, not within another word.
func (c *ruleCheck) holds(from, want, text string) {
	c.rules++
	if want == "" || !regexp.MustCompile(`(^|\W)`+regexp.QuoteMeta(strings.Join(strings.Fields(want), " "))+`(\W|$)`).MatchString(text) {
		c.Errorf("docs/reference.md does not tell of %s: %q is missing in %q", from, want, text)
	}
}

// row is the row of a field, and empty where there is none.
func row(page, path string) string {
	_, rest, found := strings.Cut(page, "\n| `"+path+"` | ")
	if !found {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func TestDescription(t *testing.T) {
	text, texts, amounts := reflect.TypeFor[string](), reflect.TypeFor[[]string](), reflect.TypeFor[map[string]v1alpha1.Quantity]()
	for _, test := range []struct {
		reason, schema string
		goType         reflect.Type
		want           string
	}{
		{"both ends of a length", "{minLength: 1, maxLength: 5}", text, "From 1 to 5 characters."},
		{"the least length alone", "{minLength: 1}", text, "At least 1 character."},
		{"both ends of a number", "{type: integer, minimum: 0, maximum: 1000000}", reflect.TypeFor[int](), "From 0 to 1000000."},
		{"the least number alone", "{type: integer, minimum: 1}", reflect.TypeFor[int](), "At least 1."},
		{"the largest number alone", "{type: number, maximum: 0.5}", reflect.TypeFor[float64](), "At most 0.5."},
		{"a pattern", "{pattern: '^a|b$'}", text, "It must match `^a|b$`."},
		{"values to choose from", "{enum: [a, b]}", text, "One of `a`, `b`."},
		{"a format that no type tells", "{format: uri}", text, "It must have the format `uri`."},
		{"a rule of CEL with a message", "{x-kubernetes-validations: [{rule: self != '', message: must be something.}]}", text, "It must be something."},
		{"a rule of CEL without a message", "{x-kubernetes-validations: [{rule: self != ''}]}", text, "It must hold: `self != ''`."},
		{"both ends of a list", "{type: array, minItems: 1, maxItems: 2, items: {type: string}}", texts, "From 1 to 2 items."},
		{"a set", "{type: array, x-kubernetes-list-type: set, items: {type: string}}", texts, "No two of them may be the same."},
		{"the items of a list", "{type: array, items: {type: string, pattern: '^a$', maxLength: 9}}", texts, "Each item: it must match `^a$`. Each item: at most 9 characters."},
		{"the values of a map", "{type: object, minProperties: 1, additionalProperties: {maxLength: 9}}", amounts, "At least 1 entry. Each value: at most 9 characters."},
	} {
		var schema apiextensionsv1.JSONSchemaProps
		if err := yaml.UnmarshalStrict([]byte(test.schema), &schema); err != nil {
			t.Fatal(err)
		}
		if got, err := description(schema, test.goType); err != nil || strings.TrimSpace(got) != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.reason, got, err, test.want)
		}
	}
}

// What a generator does not know is an error of it, at whatever depth.
func TestUnknownKeywordsAreErrors(t *testing.T) {
	read := readCRD(t)
	for _, keyword := range []string{
		"exclusiveMinimum: true", "multipleOf: 2", "nullable: true", "not: {type: string}", "allOf: [{type: string}]", "oneOf: [{type: string}]",
		"anyOf: [{type: string}]", "title: a", "x-kubernetes-embedded-resource: true",
	} {
		for _, place := range []struct{ field, items string }{{field: keyword}, {items: keyword}} {
			crd := read.DeepCopy()
			spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			list := apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}}}
			for text, into := range map[string]*apiextensionsv1.JSONSchemaProps{place.field: &list, place.items: list.Items.Schema} {
				if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			spec.Properties["jupyterServer"].Properties["extraArgs"] = list
			name, _, _ := strings.Cut(keyword, ":")
			for file, generate := range map[string]func() error{
				referenceFile: func() error { _, err := reference(crd); return err },
				valuesFile:    func() error { _, err := valuesSchema(spec); return err },
				inputFile:     func() error { _, err := inputSchema(crd); return err },
			} {
				want := fmt.Sprintf("the CRD uses %s, which the generator of %s does not know", name, file)
				if err := generate(); err == nil || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("%+v: the error is %v, want %q", place, err, want)
				}
			}
		}
	}
}

func readCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(schema.CRD, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}
