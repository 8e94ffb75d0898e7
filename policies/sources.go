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

// Source is one file of the admin's own rules: a module of Rego (NAME.rego), its tests (NAME_test.rego), or data (.yaml, .yml
// or .json), whose content becomes part of the document data.
//
// A module is of a package jupyterserver.custom.NAME, which must have the set verdicts, or of jupyterserver.lib.NAME, which the
// others may use.
type Source struct {
	// Name says where the text comes from, for messages: "team-rules/labels.rego". Its ending says what it is.
	Name string
	// Text is the content.
	Text string
}

// SourceError is a mistake in a Source.
type SourceError struct {
	// Source is the name of the Source.
	Source string
	// Line counts from 1. 0: the whole of it is meant.
	Line int
	// Message says what is wrong.
	Message string
}

// Error implements error.
func (e *SourceError) Error() string {
	if e.Line == 0 {
		return e.Source + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Message)
}

// SourceErrors are all mistakes in the Sources that were found at once. There is at least one.
type SourceErrors []*SourceError

// Error implements error.
func (e SourceErrors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "; ")
}

// custom is what the admin's sources come to.
type custom struct {
	modules  map[string]*ast.Module // by the names of their sources
	tests    map[string]*ast.Module
	data     map[string]any
	origin   map[string]string // of the keys of data
	packages []customPackage
}

// customPackage is a package of the admin's that gives verdicts.
type customPackage struct {
	name    string // the last part
	source  string // the first module of it
	binding string // the variable of the query
}

// ours is the root of the documents that are not the admin's to write.
const ours = "jupyterserver"

func parseSources(sources []Source) (custom, error) {
	c := custom{modules: map[string]*ast.Module{}, tests: map[string]*ast.Module{}, data: map[string]any{}, origin: map[string]string{}}
	var mistakes SourceErrors
	for _, source := range slices.SortedFunc(slices.Values(sources), func(a, b Source) int { return strings.Compare(a.Name, b.Name) }) {
		mistakes = append(mistakes, c.add(source)...)
	}
	mistakes = append(mistakes, c.findPackages()...)
	if len(mistakes) > 0 {
		return custom{}, mistakes
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
	return SourceErrors{{Source: source.Name, Message: "is neither Rego (.rego) nor data (.yaml, .yml, .json)"}}
}

func (c *custom) addModule(source Source) SourceErrors {
	module, err := ast.ParseModuleWithOpts(source.Name, source.Text, ast.ParserOptions{ProcessAnnotation: true})
	if err != nil {
		return orWhole(sourceErrors(err, nil), source.Name, err)
	}
	if module == nil {
		return SourceErrors{{Source: source.Name, Message: "is empty"}}
	}
	at := module.Package.Path
	if len(at) != 4 || !at[:2].Equal(ast.MustParseRef("data."+ours)) || !slices.Contains([]string{`"custom"`, `"lib"`}, at[2].String()) {
		return SourceErrors{{
			Source: source.Name, Line: module.Package.Location.Row,
			Message: fmt.Sprintf("%s is not a package for rules of yours: it must be jupyterserver.custom.NAME, or jupyterserver.lib.NAME for what several of them use", module.Package),
		}}
	}
	if !strings.HasSuffix(source.Name, "_test.rego") {
		c.modules[source.Name] = module
		return nil
	}
	c.tests[source.Name] = module
	if !slices.ContainsFunc(module.Rules, func(r *ast.Rule) bool { return strings.HasPrefix(r.Head.Ref()[0].String(), "test_") }) {
		return SourceErrors{{Source: source.Name, Line: 1, Message: "has no test: the name of one begins with test_"}}
	}
	return nil
}

func (c *custom) addData(source Source) SourceErrors {
	more, err := readData(source)
	if err != nil {
		return SourceErrors{{Source: source.Name, Message: "cannot be read as data: " + err.Error()}}
	}
	for _, key := range slices.Sorted(maps.Keys(more)) {
		origin, taken := c.origin[key]
		switch {
		case key == ours:
			return SourceErrors{{Source: source.Name, Message: "the key jupyterserver is not yours: choose another one"}}
		case taken:
			return SourceErrors{{Source: source.Name, Message: fmt.Sprintf("the key %s is in %s already: choose another one", key, origin)}}
		}
		c.data[key], c.origin[key] = more[key], source.Name
	}
	return nil
}

// readData reads one document. What follows it would be lost.
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
		return nil, errors.New("there is more than one document")
	}
	err = yaml.UnmarshalStrict(first, &data)
	return data, err
}

// findPackages lists the packages that give verdicts. One that gives none is a slip: it would never refuse anything.
func (c *custom) findPackages() (mistakes SourceErrors) {
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
			mistakes = append(mistakes, &SourceError{Source: first[name], Line: 1, Message: "the package has no rule named verdicts, so it would never refuse anything"})
		}
		c.packages = append(c.packages, customPackage{name, first[name], fmt.Sprintf("custom%d", i)})
	}
	return mistakes
}

// beside are the admin's modules and the built-in ones.
func (c custom) beside(modules map[string]*ast.Module) map[string]*ast.Module {
	all := maps.Clone(modules)
	maps.Copy(all, c.modules)
	return all
}

// query asks for all verdicts, and for the sentinel, without which they mean nothing.
func (c custom) query() string {
	query := "verdicts = data.jupyterserver.admission.verdicts; complete = data.jupyterserver.admission.complete"
	for _, p := range c.packages {
		query += fmt.Sprintf("; %s = data.jupyterserver.custom[%q].verdicts", p.binding, p.name)
	}
	return query
}

// test runs the tests that came with the sources.
func (c custom) test(ctx context.Context, modules map[string]*ast.Module) error {
	if len(c.tests) == 0 {
		return nil
	}
	all := c.beside(modules)
	maps.Copy(all, c.tests)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what still runs
	store := inmem.NewFromObject(c.data)
	compiler := ast.NewCompiler().WithCapabilities(capabilities())
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetParallel(1).RaiseBuiltinErrors(true).SetModules(all).RunTests(ctx, nil)
	if err != nil {
		return orWhole(sourceErrors(err, c.tests), strings.Join(slices.Sorted(maps.Keys(c.tests)), ", "), err)
	}
	var mistakes SourceErrors
	for result := range results {
		switch {
		case result.Skip || result.Pass():
		case result.Error != nil:
			mistakes = append(mistakes, &SourceError{result.Location.File, result.Location.Row, fmt.Sprintf("the test %s cannot be run: %v", result.Name, result.Error)})
		default:
			mistakes = append(mistakes, &SourceError{result.Location.File, result.Location.Row, fmt.Sprintf("the test %s fails", result.Name)})
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	return mistakes
}

// read takes the verdicts of a package, with the severities that the admin sets over those of the rules.
func (p customPackage) read(value any, severities map[string]Rule) ([]Verdict, error) {
	all, err := read(value)
	if err != nil {
		return nil, p.wrong(err)
	}
	verdicts := all[:0]
	for _, v := range all {
		if err := checkCustomID(v.ID); err != nil {
			return nil, p.wrong(fmt.Errorf("the id %w", err))
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

func (p customPackage) wrong(err error) error {
	return &SourceError{Source: p.source, Message: fmt.Sprintf("the package jupyterserver.custom.%s: %v", p.name, err)}
}

// blame finds the source of an error in an evaluation. Where nothing is to be found, all are suspects.
func (e *Evaluator) blame(err error) error {
	var (
		mistake *SourceError
		failed  *topdown.Error
	)
	switch {
	case len(e.sources) == 0:
		return err
	case errors.As(err, &mistake):
		return SourceErrors{mistake}
	case errors.As(err, &failed) && failed.Location != nil && slices.Contains(e.sources, failed.Location.File):
		return SourceErrors{{failed.Location.File, failed.Location.Row, err.Error()}}
	}
	var all SourceErrors
	for _, source := range e.sources {
		all = append(all, &SourceError{Source: source, Message: err.Error()})
	}
	return all
}

// sourceErrors are the errors of a parser or compiler. In other modules than those given they are none of the admin's; without
// modules all are.
func sourceErrors(err error, modules map[string]*ast.Module) SourceErrors {
	var list ast.Errors
	if !errors.As(err, &list) {
		return nil
	}
	var mistakes SourceErrors
	for _, one := range list {
		if one.Location == nil {
			continue
		}
		if _, theirs := modules[one.Location.File]; !theirs && modules != nil {
			continue
		}
		mistakes = append(mistakes, &SourceError{one.Location.File, one.Location.Row, strings.Join(strings.Fields(one.Message), " ")})
	}
	return mistakes
}

// orWhole is for errors that name no line.
func orWhole(mistakes SourceErrors, source string, err error) SourceErrors {
	if len(mistakes) == 0 {
		return SourceErrors{{Source: source, Message: err.Error()}}
	}
	return mistakes
}
