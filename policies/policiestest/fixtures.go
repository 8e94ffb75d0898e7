// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policiestest reads the fixtures of the rules (policies/testdata) for tests of all users of the rules: the evaluator, the
// webhook, the controller and the command line.
package policiestest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Fixture is a JupyterServer and its expected verdicts.
type Fixture struct {
	// Rule is the ID of the tested rule, and Name the test case.
	Rule string `json:"-"`
	Name string `json:"-"`
	// Manifest is the server, in the namespace that Namespace returns.
	Manifest string `json:"-"`

	// Reason explains the verdicts.
	Reason string `json:"reason"`
	// Deny and Warn are the IDs of the verdicts, sorted and unique.
	Deny []string `json:"deny"`
	Warn []string `json:"warn"`
	// Config holds the settings of the rules.
	Config map[string]any `json:"config"`
	// Routes are the routes of other servers.
	Routes []policies.Route `json:"routes"`
	// More are additional rendered objects, as a bug in the chart could add them.
	More []map[string]any `json:"more"`
	// Message is part of one of the messages, and Path one of the paths.
	Message string `json:"message"`
	Path    string `json:"path"`

	number int
}

// Fixtures returns all fixtures. Each has its own namespace, so that all can be in one cluster.
func Fixtures(t testing.TB) []Fixture {
	t.Helper()
	all, err := read()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read() ([]Fixture, error) {
	_, here, _, _ := runtime.Caller(0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(here), "../testdata/*/*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no fixtures: %w", err)
	}
	all := make([]Fixture, len(files))
	for i, file := range files {
		if all[i], err = readOne(file, i); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return all, nil
}

// readOne separates the comment at the start of a file from the server.
func readOne(file string, number int) (Fixture, error) {
	f := Fixture{Rule: filepath.Base(filepath.Dir(file)), Name: strings.TrimSuffix(filepath.Base(file), ".yaml"), number: number}
	raw, err := os.ReadFile(file)
	if err != nil {
		return f, err
	}
	f.Manifest = strings.ReplaceAll(string(raw), "science", f.Namespace())
	var header strings.Builder
	for line := range strings.Lines(f.Manifest) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		header.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	if err := yaml.UnmarshalStrict([]byte(header.String()), &f); err != nil {
		return f, fmt.Errorf("header: %w", err)
	}
	if f.Reason == "" {
		return f, errors.New("the header has no reason")
	}
	for i, route := range f.Routes {
		if route.Namespace != f.Namespace() {
			f.Routes[i].Namespace = f.Namespace() + "-" + route.Namespace
			f.Message = strings.ReplaceAll(f.Message, route.Namespace+"/", f.Routes[i].Namespace+"/")
		}
	}
	return f, nil
}

// Namespace returns the fixture's own namespace. In the file it is science.
func (f Fixture) Namespace() string { return fmt.Sprintf("fixture-%d", f.number) }

// Labels returns the labels of Namespace, by which Config selects the settings.
func (f Fixture) Labels() map[string]string { return map[string]string{fixtureLabel: f.Namespace()} }

const fixtureLabel = "jupyterserver.dev/fixture"

// Config returns one configuration with the settings of every fixture for its namespace and the defaults for all others.
func Config() (policies.Config, error) {
	cfg := policies.Default()
	all, err := read()
	if err != nil {
		return cfg, err
	}
	for _, f := range all {
		if len(f.Config) == 0 {
			continue
		}
		rules, err := yaml.Marshal(f.Config)
		if err != nil {
			return cfg, err
		}
		settings, err := yaml.YAMLToJSON(rules)
		if err != nil {
			return cfg, err
		}
		cfg.Namespaces = append(cfg.Namespaces, policies.NamespaceRules{Selector: metav1.LabelSelector{MatchLabels: f.Labels()}, Rules: settings})
	}
	return cfg, nil
}

// Others returns the routes without the server's own.
func (f Fixture) Others() []policies.Route {
	return slices.DeleteFunc(slices.Clone(f.Routes), func(r policies.Route) bool { return r.Namespace == f.Namespace() })
}

// ManifestAt returns a server at a route.
func ManifestAt(route policies.Route) string {
	return fmt.Sprintf(`apiVersion: jupyterserver.dev/v1alpha1
kind: JupyterServer
metadata: {name: %s, namespace: %s}
spec: {routing: {host: %q, path: %q}}
`, route.Name, route.Namespace, route.Host, route.Path)
}

// Check compares verdicts with the expected ones.
func (f Fixture) Check(t testing.TB, verdicts []policies.Verdict) {
	t.Helper()
	f.CheckRules(t, rules(verdicts, policies.Deny), rules(verdicts, policies.Warn))
	if f.Message == "" && f.Path == "" {
		return
	}
	if !slices.ContainsFunc(verdicts, func(v policies.Verdict) bool {
		return v.ID == f.Rule && strings.Contains(v.Message, f.Message) && (f.Path == "" || v.Path == f.Path)
	}) {
		t.Errorf("no verdict of %s with %q at %q; all: %+v", f.Rule, f.Message, f.Path, verdicts)
	}
}

// CheckRules compares the rules that deny and warn, for callers that know no more.
func (f Fixture) CheckRules(t testing.TB, deny, warn []string) {
	t.Helper()
	if !slices.Equal(deny, f.Deny) {
		t.Errorf("denied by %v, want %v, because %s", deny, f.Deny, f.Reason)
	}
	if !slices.Equal(warn, f.Warn) {
		t.Errorf("warned by %v, want %v, because %s", warn, f.Warn, f.Reason)
	}
}

// rules returns the unique IDs of verdicts.
func rules(verdicts []policies.Verdict, severity policies.Severity) []string {
	var out []string
	for _, v := range verdicts {
		if v.Severity == severity {
			out = append(out, v.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
