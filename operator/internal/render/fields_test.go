// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/runtime"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// notRendered are the fields of the spec that change no manifest, and why that is right.
var notRendered = map[string]string{
	"storage.retain":            "the operator gives the claim an owner, or none",
	"release.rollbackOnFailure": "the operator decides by it which release is in the cluster, not what is in a release",
	"auth.token.value":          "a secret: it is copied to the place where a token is that the operator generates",
}

// Every field of the spec stands in a golden, and the manifest of that golden is another one without it. A field of a type of
// Kubernetes counts as one: TestFieldsOfKubernetesAreRendered looks into it.
func TestEveryFieldIsInAGolden(t *testing.T) {
	crd := readCRD(t)
	inputs, unknown := goldenInputs(t), maps.Clone(notRendered)
	for _, field := range fieldsOf(crd.spec, reflect.TypeFor[v1alpha1.JupyterServerSpec](), "") {
		reason, isNotRendered := notRendered[field.path]
		delete(unknown, field.path)
		var in, changed []string
		for name, input := range inputs {
			without := runtime.DeepCopyJSON(input.server)
			if !remove(without["spec"], strings.Split(field.path, ".")) {
				continue
			}
			in = append(in, name)
			if renderRaw(t, crd, input, without) != renderRaw(t, crd, input, input.server) {
				changed = append(changed, name)
			}
		}
		slices.Sort(in)
		switch {
		case len(in) == 0:
			t.Errorf("spec.%s stands in no golden: set it in one of operator/internal/render/testdata, and run the tests with -update", field.path)
		case len(changed) == 0 && !isNotRendered:
			t.Errorf("spec.%s stands in the goldens %q, and their manifests are the same without it: does a template use it, and is it set to more than its default? Where it is right that no manifest shows it, say why in notRendered", field.path, in)
		case len(changed) > 0 && isNotRendered:
			t.Errorf("spec.%s changes the manifests of the goldens %q: take it out of notRendered, which says %q", field.path, changed, reason)
		}
	}
	for path := range unknown {
		t.Errorf("spec.%s is no field, or one with fields of its own: take it out of notRendered", path)
	}
}

// Every field of the types of Kubernetes that a spec may hold reaches the manifest. The schema tells which there are, so that those
// of a new version of Kubernetes are among them.
func TestFieldsOfKubernetesAreRendered(t *testing.T) {
	crd := readCRD(t)
	in := goldenInput{renderer: newRenderer(t, config.Default())}
	known := map[string]string{} // many fields share what is there without them
	renderWith := func(field string, value any) string {
		key := fmt.Sprint(field, value)
		if manifest, found := known[key]; found {
			return manifest
		}
		spec := map[string]any{"routing": map[string]any{"host": "alice.example.org"}}
		set(spec, strings.Split(field, "."), value)
		manifest := renderRaw(t, crd, in, map[string]any{"metadata": map[string]any{"name": "alice"}, "spec": spec})
		if strings.HasPrefix(manifest, renderError) {
			t.Errorf("spec.%s: %v: %s", field, value, manifest)
		}
		known[key] = manifest
		return manifest
	}
	found := 0
	for _, field := range fieldsOf(crd.spec, reflect.TypeFor[v1alpha1.JupyterServerSpec](), "") {
		if field.isScalar() {
			continue
		}
		for _, probe := range probesOf(field.schema, field.path) {
			found++
			if renderWith(field.path, probe.with) == renderWith(field.path, probe.without) {
				t.Errorf("the manifest is the same with and without spec.%s: the chart loses it; rendered were %v and %v", probe.path, probe.with, probe.without)
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d fields were found", found)
	}
}

// crdSchema is the schema of the spec, and what gives a server its defaults.
type crdSchema struct {
	spec       apiextensionsv1.JSONSchemaProps
	structural *structuralschema.Structural
}

func readCRD(t *testing.T) crdSchema {
	t.Helper()
	var definition apiextensionsv1.CustomResourceDefinition
	if err := sigsyaml.UnmarshalStrict(schema.CRD, &definition); err != nil {
		t.Fatal(err)
	}
	root := definition.Spec.Versions[0].Schema
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(root, &internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return crdSchema{root.OpenAPIV3Schema.Properties["spec"], structural}
}

// specField is a field of our own types whose own type is none of ours.
type specField struct {
	path   string // below spec, such as patches[].target.kind
	schema apiextensionsv1.JSONSchemaProps
}

// isScalar reports whether a field holds texts, numbers or booleans, one or a list or map of them.
func (f specField) isScalar() bool {
	schema := f.schema
	if schema.Items != nil {
		schema = *schema.Items.Schema
	}
	return len(schema.Properties) == 0
}

// fieldsOf are the fields of a type of ours, and of those within it, in the order of the alphabet.
func fieldsOf(schema apiextensionsv1.JSONSchemaProps, goType reflect.Type, path string) []specField {
	for goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	switch {
	case goType.Kind() == reflect.Slice && isOurs(goType.Elem()):
		return fieldsOf(*schema.Items.Schema, goType.Elem(), path+"[]")
	case goType.Kind() != reflect.Struct || !isOurs(goType):
		return []specField{{strings.TrimPrefix(path, "."), schema}}
	}
	var fields []specField
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		for field := range goType.Fields() {
			if jsonName, _, _ := strings.Cut(field.Tag.Get("json"), ","); jsonName == name {
				fields = append(fields, fieldsOf(schema.Properties[name], field.Type, path+"."+name)...)
			}
		}
	}
	return fields
}

func isOurs(t reflect.Type) bool {
	return t.PkgPath() == reflect.TypeFor[v1alpha1.JupyterServer]().PkgPath()
}

// goldenInput is a server as its author wrote it, and what renders it.
type goldenInput struct {
	server   map[string]any
	renderer *render.Renderer
	refs     render.References
}

// goldenInputs are those of the goldens with a manifest, by their names.
func goldenInputs(t *testing.T) map[string]goldenInput {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	out := map[string]goldenInput{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if section(archive, "error") != "" {
			continue
		}
		in := specimenOf(t, archive)
		var server map[string]any
		if err := sigsyaml.Unmarshal([]byte(in.server), &server); err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = goldenInput{server, newRenderer(t, in.config), in.refs}
	}
	return out
}

// renderError is what the result of renderRaw begins with where there is no manifest.
const renderError = "error: "

// renderRaw gives a server its defaults, and renders it unchecked: what is required may be missing. An error is a result, too.
func renderRaw(t *testing.T, crd crdSchema, in goldenInput, server map[string]any) string {
	t.Helper()
	server = runtime.DeepCopyJSON(server)
	defaulting.Default(server, crd.structural)
	raw, err := json.Marshal(server)
	if err != nil {
		t.Fatal(err)
	}
	var typed v1alpha1.JupyterServer
	if err := json.Unmarshal(raw, &typed); err != nil {
		t.Fatal(err)
	}
	rendered, err := in.renderer.Render(&typed, in.refs)
	if err != nil {
		return renderError + err.Error()
	}
	return rendered.Manifest
}

// remove takes a field out of a value, from all items of a list, and with it what would be empty then. It reports whether the
// field was there.
func remove(value any, path []string) bool {
	object, isObject := value.(map[string]any)
	if !isObject {
		return false
	}
	name, isList := strings.CutSuffix(path[0], "[]")
	child, found := object[name]
	switch {
	case !found:
		return false
	case len(path) == 1:
		delete(object, name)
		return true
	case isList:
		removed := false
		for _, item := range child.([]any) {
			removed = remove(item, path[1:]) || removed
		}
		return removed
	}
	removed := remove(child, path[1:])
	if below, isObject := child.(map[string]any); isObject && len(below) == 0 {
		delete(object, name)
	}
	return removed
}

// set puts a value into an object, where there is one.
func set(object map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		below := map[string]any{}
		object[name], object = below, below
	}
	if value != nil {
		object[path[len(path)-1]] = value
	}
}

// probe is a value that has a field, and one that differs in nothing but that: nil, where there is nothing without the field.
type probe struct {
	path          string
	with, without any
}

// probesOf are those of a schema, one for each field without fields of its own.
func probesOf(schema apiextensionsv1.JSONSchemaProps, path string) []probe {
	var probes []probe
	switch {
	case schema.Type == "boolean":
		return []probe{{path, true, false}} // either may be what holds without it
	case schema.Type == "array":
		for _, p := range probesOf(*schema.Items.Schema, path+"[]") {
			p.with = []any{p.with}
			if p.without != nil {
				p.without = []any{p.without}
			}
			probes = append(probes, p)
		}
	case len(schema.Properties) > 0:
		for name, property := range schema.Properties {
			for _, p := range probesOf(property, path+"."+name) {
				with, without := sample(schema).(map[string]any), sample(schema).(map[string]any)
				with[name], without[name] = p.with, p.without
				if p.without == nil {
					delete(without, name)
				}
				probes = append(probes, probe{p.path, with, without})
			}
		}
	case schema.Type != "object" || schema.AdditionalProperties != nil: // else nothing can be in it
		return []probe{{path, sample(schema), nil}}
	}
	return probes
}

// sample is a value of a schema with no more than what is required.
func sample(schema apiextensionsv1.JSONSchemaProps) any {
	switch {
	case schema.XIntOrString, schema.Type == "integer":
		return int64(1)
	case schema.Type == "boolean":
		return true
	case schema.Type == "array":
		return []any{sample(*schema.Items.Schema)}
	case schema.Type == "object" && schema.AdditionalProperties != nil:
		return map[string]any{"x": sample(*schema.AdditionalProperties.Schema)}
	case schema.Type == "object":
		object := map[string]any{}
		for _, name := range schema.Required {
			object[name] = sample(schema.Properties[name])
		}
		return object
	}
	return "x"
}
