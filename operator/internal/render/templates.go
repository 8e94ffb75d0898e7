// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	"sigs.k8s.io/yaml"
)

// templates are the chart's templates, parsed once. Helm's engine parses them at every render, and its manifest sorter parses their
// output. The results are the same: FuzzRenderedAsByHelm checks that.
type templates struct {
	parsed  *template.Template
	objects []objectTemplate // in Helm's install order
}

// objectTemplate is a template that renders one object or none.
type objectTemplate struct {
	name string // as in Helm, including the name of the chart
	kind string
}

// kindLine and separatorLine match the text of a template. In its output, text of a spec is quoted or indented.
var (
	kindLine      = regexp.MustCompile(`(?m)^kind: (\w+)$`)
	separatorLine = regexp.MustCompile(`(?m)^---`)
)

func parseTemplates(chart *helmchart.Chart) (*templates, error) {
	if len(chart.Dependencies()) > 0 {
		return nil, errors.New("reading the chart's templates: charts with dependencies are not supported")
	}
	t := &templates{parsed: template.New(chart.Name()).Option("missingkey=zero").Funcs(functions())}
	for _, file := range chart.Templates {
		name := path.Join(chart.Name(), file.Name)
		if _, err := t.parsed.New(name).Parse(string(file.Data)); err != nil {
			return nil, fmt.Errorf("reading the chart's templates: %w", err)
		}
		base := path.Base(name)
		if strings.HasPrefix(base, "_") || base == "NOTES.txt" {
			continue
		}
		kinds := kindLine.FindAllSubmatch(file.Data, -1)
		if len(kinds) != 1 || separatorLine.Match(file.Data) {
			return nil, fmt.Errorf("reading the chart's templates: %s must contain exactly one object, with a line such as \"kind: Service\"", name)
		}
		t.objects = append(t.objects, objectTemplate{name: name, kind: string(kinds[0][1])})
	}
	slices.SortFunc(t.objects, inInstallOrder)
	return t, nil
}

// inInstallOrder compares by kind, as Helm does, and objects of one kind by file name.
func inInstallOrder(a, b objectTemplate) int {
	return cmp.Or(cmp.Compare(rank(a.kind), rank(b.kind)), strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
}

// rank returns the position of a kind in Helm's install order. Unknown kinds come last.
func rank(kind string) int {
	if place := slices.Index(releaseutil.InstallOrder, kind); place >= 0 {
		return place
	}
	return len(releaseutil.InstallOrder)
}

// document is the text of one rendered object.
type document struct {
	template string // name of the template
	text     string
}

// execute renders the objects for the values, in Helm's install order.
func (t *templates) execute(top chartutil.Values) ([]document, error) {
	own, err := t.parsed.Clone() // shares the parsed text; include counts per render
	if err != nil {
		return nil, err
	}
	own.Funcs(template.FuncMap{"include": includeOf(own)})
	var documents []document
	for _, object := range t.objects {
		top["Template"] = chartutil.Values{"Name": object.name, "BasePath": path.Dir(object.name)}
		var text strings.Builder
		if err := own.ExecuteTemplate(&text, object.name, top); err != nil {
			return nil, inPlainWords(err)
		}
		// missingkey=zero still prints a missing value as this text.
		d := document{object.name, strings.TrimSpace(strings.ReplaceAll(text.String(), "<no value>", ""))}
		if d.text != "" && !d.isHook() {
			documents = append(documents, d)
		}
	}
	return documents, nil
}

// isHook reports whether Helm excludes an object from the manifest because of an annotation, which a spec may set.
func (d document) isHook() bool {
	if !strings.Contains(d.text, release.HookAnnotation) {
		return false
	}
	_, manifests, err := sortWithHelm(d)
	return err == nil && len(manifests) == 0
}

// checkYAML returns the error of the first document that is not YAML. It names the template, and the line in the output.
func checkYAML(documents []document) error {
	if _, _, err := sortWithHelm(documents...); err != nil {
		return fmt.Errorf("reading the rendered chart: %w", err)
	}
	return nil
}

func sortWithHelm(documents ...document) ([]*release.Hook, []releaseutil.Manifest, error) {
	files := map[string]string{}
	for _, d := range documents {
		files[d.template] = d.text
	}
	return releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
}

// functions are the functions that the chart uses, and no others: a template that uses the clock, randomness, DNS or the cluster
// does not parse.
func functions() template.FuncMap {
	out := template.FuncMap{
		"include":  includeOf(nil), // replaced at every render
		"required": required,
		"toYaml":   toYAML,
	}
	all := sprig.TxtFuncMap()
	for _, name := range []string{
		"deepCopy", "default", "dict", "empty", "hasKey", "hasPrefix", "int", "list", "mergeOverwrite", "nindent", "omit",
		"quote", "ternary", "toString", "trimPrefix", "trimSuffix",
	} {
		out[name] = all[name]
	}
	return out
}

// maxIncludes is how deep a template may include itself, as in Helm.
const maxIncludes = 1000

// includeOf returns the function include, which executes a template by name.
func includeOf(all *template.Template) func(string, any) (string, error) {
	depth := map[string]int{}
	return func(name string, data any) (string, error) {
		if depth[name] > maxIncludes {
			return "", fmt.Errorf("the template %s includes itself endlessly", name)
		}
		depth[name]++
		defer func() { depth[name]-- }()
		var text strings.Builder
		err := all.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
}

// requirement is the error of a required value that is missing.
type requirement string

// Error implements error.
func (r requirement) Error() string { return string(r) }

func required(message string, value any) (any, error) {
	if value == nil || value == "" {
		return value, requirement(message)
	}
	return value, nil
}

// inPlainWords reduces the error of a missing required value to the place in the template and the chart's message.
func inPlainWords(err error) error {
	var missing requirement
	if !errors.As(err, &missing) {
		return err
	}
	place, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "template: "), ": ")
	return fmt.Errorf("execution error at (%s): %w", place, missing)
}

// toYAML returns a value as YAML, or an empty string if it cannot be marshaled.
func toYAML(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}
