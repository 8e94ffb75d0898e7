// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"text/template/parse"

	"github.com/Masterminds/sprig/v3"
)

// impure are the functions of Helm that give something else at every call, or look outside of the values, beside those that
// sprig itself calls so.
var impure = []string{
	"lookup", "randInt", "shuffle", "bcrypt", "htpasswd", "encryptAES",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
}

func isImpure(function string) bool {
	_, known := sprig.TxtFuncMap()[function]
	_, repeatable := sprig.HermeticTxtFuncMap()[function]
	return known && !repeatable || slices.Contains(impure, function)
}

// The templates of the chart call no function that would give a different release at every render.
func TestChartHasNoRandomnessAndNoLookups(t *testing.T) {
	files, err := filepath.Glob("../../../chart-jupyter-server/templates/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, function := range functionsIn(t, string(raw)) {
			if isImpure(function) {
				t.Errorf("%s calls %s, which gives something else at every render", filepath.Base(file), function)
			}
		}
	}
}

func TestFunctionsIn(t *testing.T) {
	for _, test := range []struct {
		reason, template string
		impure           bool
	}{
		{"a call", `{{ now }}`, true},
		{"the end of a pipe", `{{ "2006" | date }}`, true},
		{"an argument", `{{ quote (lookup "v1" "Secret" "a" "b") }}`, true},
		{"a method of what a call gives", `{{ (now).Unix }}`, true},
		{"a variable", `{{ $x := randAlphaNum 5 }}`, true},
		{"a condition", `{{ if env "X" }}{{ end }}`, true},
		{"the second branch of a list", `{{ range .Values.a }}{{ else }}{{ now }}{{ end }}`, true},
		{"what another template is given", `{{ with .Values.a }}{{ template "b" (now) }}{{ end }}`, true},
		{"a template of its own", `{{ define "b" }}{{ uuidv4 }}{{ end }}`, true},
		{"a field whose name holds that of a function", `{{ .Values.knownHosts | quote }}`, false},
		{"a variable with the name of a function", `{{ $now := .Values.a }}{{ $now }}`, false},
		{"a text with the name of a function", `{{ quote "now" }}`, false},
		{"a comment", `{{/* now */}}`, false},
		{"text beside the actions", `now`, false},
	} {
		if functions := functionsIn(t, test.template); slices.ContainsFunc(functions, isImpure) != test.impure {
			t.Errorf("%s: found the functions %q in %s", test.reason, functions, test.template)
		}
	}
}

// functionsIn are the names of the functions that the actions of a template call.
func functionsIn(t *testing.T, text string) []string {
	t.Helper()
	tree, trees := parse.New("template"), map[string]*parse.Tree{}
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		t.Fatal(err)
	}
	var functions []string
	for _, tree := range trees {
		visit(tree.Root, func(identifier *parse.IdentifierNode) { functions = append(functions, identifier.Ident) })
	}
	return functions
}

// visit calls a function for every identifier below a node.
func visit(node parse.Node, found func(*parse.IdentifierNode)) {
	branch := func(b parse.BranchNode) {
		visit(b.Pipe, found)
		visit(b.List, found)
		if b.ElseList != nil {
			visit(b.ElseList, found)
		}
	}
	switch n := node.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			visit(child, found)
		}
	case *parse.ActionNode:
		visit(n.Pipe, found)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			visit(n.Pipe, found)
		}
	case *parse.IfNode:
		branch(n.BranchNode)
	case *parse.RangeNode:
		branch(n.BranchNode)
	case *parse.WithNode:
		branch(n.BranchNode)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			for _, argument := range command.Args {
				visit(argument, found)
			}
		}
	case *parse.ChainNode:
		visit(n.Node, found)
	case *parse.IdentifierNode:
		found(n)
	}
}
