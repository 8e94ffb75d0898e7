// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Source is a file of custom rules: a Rego module (NAME.rego), its tests (NAME_test.rego), or data (.yaml, .yml or .json), which
// becomes part of the document data.
//
// The package of a module is jupyterserver.custom.NAME, which must define the set verdicts, or jupyterserver.lib.NAME, which other
// modules may import.
type Source struct {
	// Name is the origin for messages, such as "team-rules/labels.rego". Its extension determines the type.
	Name string
	// Text is the content.
	Text string
}

// SourceError is an error in a Source.
type SourceError struct {
	// Source is the name of the Source.
	Source string
	// Line counts from 1. 0 means the whole Source.
	Line int
	// Message is the error.
	Message string
}

// Error implements error.
func (e *SourceError) Error() string {
	if e.Line == 0 {
		return e.Source + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Message)
}

// SourceErrors are all errors that were found in the Sources, at least one.
type SourceErrors []*SourceError

// Error implements error.
func (e SourceErrors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "; ")
}

// custom are the parsed Sources.
type custom struct {
	modules  map[string]*ast.Module // by Source name
	tests    map[string]*ast.Module
	data     map[string]any
	origin   map[string]string // Source name by key of data
	packages []customPackage
}

// customPackage is a custom package with verdicts.
type customPackage struct {
	name    string // the last part of its path
	source  string // its first module
	binding string // the variable in the query
}

// reservedKey is the root of the documents that custom data may not define.
const reservedKey = "jupyterserver"

func parseSources(sources []Source) (*custom, error) {
	c := &custom{modules: map[string]*ast.Module{}, tests: map[string]*ast.Module{}, data: map[string]any{}, origin: map[string]string{}}
	var errs SourceErrors
	for _, source := range slices.SortedFunc(slices.Values(sources), func(a, b Source) int { return strings.Compare(a.Name, b.Name) }) {
		errs = append(errs, c.add(source)...)
	}
	errs = append(errs, c.findPackages()...)
	if len(errs) > 0 {
		return nil, errs
	}
	return c, nil
}

func (c *custom) add(source Source) SourceErrors {
	switch path.Ext(source.Name) {
	case ".rego":
		return c.addModule(source)
	case ".yaml", ".yml", ".json":
		return c.addData(source)
	}
	return SourceErrors{{Source: source.Name, Message: "must be Rego (.rego) or data (.yaml, .yml, .json)"}}
}

func (c *custom) addModule(source Source) SourceErrors {
	module, err := ast.ParseModuleWithOpts(source.Name, source.Text, ast.ParserOptions{ProcessAnnotation: true})
	if err != nil {
		return orSource(sourceErrors(err, nil), source.Name, err)
	}
	if module == nil {
		return SourceErrors{{Source: source.Name, Message: "is empty"}}
	}
	at := module.Package.Path
	if len(at) != 4 || !at[:2].Equal(ast.MustParseRef("data."+reservedKey)) || !slices.Contains([]string{`"custom"`, `"lib"`}, at[2].String()) {
		return SourceErrors{{
			Source: source.Name, Line: module.Package.Location.Row,
			Message: fmt.Sprintf("%s is not a package for custom rules: use jupyterserver.custom.NAME, or jupyterserver.lib.NAME for shared code", module.Package),
		}}
	}
	if !strings.HasSuffix(source.Name, "_test.rego") {
		c.modules[source.Name] = module
		return nil
	}
	c.tests[source.Name] = module
	if !slices.ContainsFunc(module.Rules, func(r *ast.Rule) bool { return strings.HasPrefix(r.Head.Ref()[0].String(), "test_") }) {
		return SourceErrors{{Source: source.Name, Line: 1, Message: "has no tests: their names begin with test_"}}
	}
	return nil
}

func (c *custom) addData(source Source) SourceErrors {
	more, err := readData(source)
	if err != nil {
		return SourceErrors{{Source: source.Name, Message: "invalid data: " + err.Error()}}
	}
	for _, key := range slices.Sorted(maps.Keys(more)) {
		origin, taken := c.origin[key]
		switch {
		case key == reservedKey:
			return SourceErrors{{Source: source.Name, Message: "the key jupyterserver is reserved: choose another one"}}
		case taken:
			return SourceErrors{{Source: source.Name, Message: fmt.Sprintf("the key %s is already in %s: choose another one", key, origin)}}
		}
		c.data[key], c.origin[key] = more[key], source.Name
	}
	return nil
}

// readData reads the only document. A second one is an error, because it would be ignored.
func readData(source Source) (data map[string]any, err error) {
	if path.Ext(source.Name) == ".json" {
		err = unmarshal([]byte(source.Text), &data)
		return data, err
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(source.Text)))
	first, err := documents.Read()
	if err != nil {
		return nil, err
	}
	if second, err := documents.Read(); err == nil && len(bytes.TrimSpace(second)) > 0 {
		return nil, errors.New("more than one document")
	}
	err = yaml.UnmarshalStrict(first, &data)
	return data, err
}

// findPackages collects the custom packages. One without verdicts is an error, because it would never deny anything.
func (c *custom) findPackages() (errs SourceErrors) {
	first, gives := map[string]string{}, map[string]bool{}
	for _, source := range slices.Sorted(maps.Keys(c.modules)) {
		module := c.modules[source]
		at := module.Package.Path
		if at[2].Equal(ast.StringTerm("lib")) {
			continue
		}
		name := strings.Trim(at[3].String(), `"`)
		if first[name] == "" {
			first[name] = source
		}
		gives[name] = gives[name] || slices.ContainsFunc(module.Rules, func(r *ast.Rule) bool { return r.Head.Ref()[0].Equal(ast.VarTerm("verdicts")) })
	}
	for i, name := range slices.Sorted(maps.Keys(first)) {
		if !gives[name] {
			errs = append(errs, &SourceError{Source: first[name], Line: 1, Message: "the package has no rule named verdicts, so it would never deny anything"})
		}
		c.packages = append(c.packages, customPackage{name, first[name], fmt.Sprintf("custom%d", i)})
	}
	return errs
}

// withModules returns the custom modules and the given ones.
func (c *custom) withModules(modules map[string]*ast.Module) map[string]*ast.Module {
	all := maps.Clone(modules)
	maps.Copy(all, c.modules)
	return all
}

// query returns the query for all verdicts and for the sentinel, without which they mean nothing.
func (c *custom) query() string {
	var query strings.Builder
	query.WriteString("verdicts = data.jupyterserver.admission.verdicts; complete = data.jupyterserver.admission.complete")
	for _, p := range c.packages {
		fmt.Fprintf(&query, "; %s = data.jupyterserver.custom[%q].verdicts", p.binding, p.name)
	}
	return query.String()
}

// test runs the tests of the Sources.
func (c *custom) test(ctx context.Context, modules map[string]*ast.Module) error {
	if len(c.tests) == 0 {
		return nil
	}
	all := c.withModules(modules)
	maps.Copy(all, c.tests)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends tests that are still running
	store := inmem.NewFromObject(c.data)
	compiler := ast.NewCompiler().WithCapabilities(capabilities())
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetParallel(1).RaiseBuiltinErrors(true).SetModules(all).RunTests(ctx, nil)
	if err != nil {
		return orSource(sourceErrors(err, c.tests), strings.Join(slices.Sorted(maps.Keys(c.tests)), ", "), err)
	}
	var errs SourceErrors
	for result := range results {
		switch {
		case result.Skip || result.Pass():
		case result.Error != nil:
			errs = append(errs, &SourceError{result.Location.File, result.Location.Row, fmt.Sprintf("test %s cannot run: %v", result.Name, result.Error)})
		default:
			errs = append(errs, &SourceError{result.Location.File, result.Location.Row, fmt.Sprintf("test %s failed", result.Name)})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// decode decodes the verdicts of a package and applies the configured severities.
func (p customPackage) decode(value any, severities map[string]Rule) ([]Verdict, error) {
	all, err := decodeVerdicts(value)
	if err != nil {
		return nil, p.sourceError(err)
	}
	verdicts := all[:0]
	for _, v := range all {
		if err := checkCustomID(v.ID); err != nil {
			return nil, p.sourceError(fmt.Errorf("id %w", err))
		}
		if set, found := severities[v.ID]; found {
			v.Severity = set.Severity
		}
		if v.Severity != Off {
			verdicts = append(verdicts, v)
		}
	}
	return verdicts, nil
}

func (p customPackage) sourceError(err error) error {
	return &SourceError{Source: p.source, Message: fmt.Sprintf("package jupyterserver.custom.%s: %v", p.name, err)}
}

// attribute returns an evaluation error as SourceErrors of the Source that caused it, or of all Sources if that is unknown.
func (e *Evaluator) attribute(err error) error {
	var (
		sourceErr *SourceError
		failed    *topdown.Error
	)
	switch {
	case len(e.sources) == 0:
		return err
	case errors.As(err, &sourceErr):
		return SourceErrors{sourceErr}
	case errors.As(err, &failed) && failed.Location != nil && slices.Contains(e.sources, failed.Location.File):
		return SourceErrors{{failed.Location.File, failed.Location.Row, err.Error()}}
	}
	var all SourceErrors
	for _, source := range e.sources {
		all = append(all, &SourceError{Source: source, Message: err.Error()})
	}
	return all
}

// sourceErrors converts errors of the parser or compiler. Errors outside the given modules are ignored; with nil modules none are.
func sourceErrors(err error, modules map[string]*ast.Module) SourceErrors {
	var list ast.Errors
	if !errors.As(err, &list) {
		return nil
	}
	var errs SourceErrors
	for _, one := range list {
		if one.Location == nil {
			continue
		}
		if _, isCustom := modules[one.Location.File]; !isCustom && modules != nil {
			continue
		}
		errs = append(errs, &SourceError{one.Location.File, one.Location.Row, strings.Join(strings.Fields(one.Message), " ")})
	}
	return errs
}

// orSource returns err for the whole source if errs is empty.
func orSource(errs SourceErrors, source string, err error) SourceErrors {
	if len(errs) == 0 {
		return SourceErrors{{Source: source, Message: err.Error()}}
	}
	return errs
}
