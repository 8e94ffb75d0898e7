// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const troubleshooting = "../../../docs/troubleshooting.md"

// taken are the reasons that causes take from what they look at, by the function and the expression that is the reason there.
var taken = map[string][]string{
	"badConfiguration: w.Reason":               {"CreateContainerConfigError", "CreateContainerError", "PreCreateHookError"},
	"imageNotPulled: waiting.Reason":           {"InvalidImageName", "ErrImageNeverPull", "ImageInspectError"},
	"volumeFailed: e.Reason":                   volumeReasons(),
	"podFailed: reason":                        {"OutOfcpu", "OutOfmemory", "OutOfpods"},
	"podFailed: cmp.Or(reason, \"PodFailed\")": {"PodFailed"}, // and what the kubelet may say in other versions
	"ProviderTrouble: access.Provider.Reason":  slices.Collect(maps.Keys(providerReasons)),
}

// Who reads a reason in the status of a server finds it in docs/troubleshooting.md, in the first column of a table of reasons:
// those of conditions, and those that a diagnosis gives.
func TestReasonsAreDocumented(t *testing.T) {
	known := map[string]bool{}
	for _, name := range documentedReasons(t) {
		known[name] = true
	}
	for _, reason := range slices.Concat(reasonsOfConditions(t), reasonsOfDiagnoses(t)) {
		if !known[reason.name] {
			t.Errorf("the reason %s (%s) stands in no table of reasons in docs/troubleshooting.md: say there what is wrong, and what to do", reason.name, reason.from)
			known[reason.name] = true // once is enough
		}
	}
}

// reason is a reason, and where in the sources it comes from.
type reason struct{ name, from string }

// documentedReasons are those in the first columns of the tables whose first column is headed "reason".
func documentedReasons(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile("`(\\w+)`")
	var names []string
	inTable := false
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			inTable = false
			continue
		}
		inTable = inTable || strings.TrimSpace(cells[1]) == "reason"
		for _, match := range word.FindAllStringSubmatch(cells[1], -1) {
			if inTable {
				names = append(names, match[1])
			}
		}
	}
	if len(names) < 40 {
		t.Fatalf("only %d reasons are found in %s", len(names), troubleshooting)
	}
	return names
}

// reasonsOfConditions are the constants of the API whose names begin with Reason.
func reasonsOfConditions(t *testing.T) []reason {
	t.Helper()
	const file = "../../api/v1alpha1/status.go"
	var reasons []reason
	for _, declaration := range parse(t, file).Decls {
		general, isGeneral := declaration.(*ast.GenDecl)
		if !isGeneral || general.Tok != token.CONST {
			continue
		}
		for _, spec := range general.Specs {
			value := spec.(*ast.ValueSpec)
			for i, name := range value.Names {
				if strings.HasPrefix(name.Name, "Reason") {
					reasons = append(reasons, reason{unquoted(value.Values[i]), "operator/api/v1alpha1/status.go, " + name.Name})
				}
			}
		}
	}
	if len(reasons) < 20 {
		t.Fatalf("only %d reasons are found in %s", len(reasons), file)
	}
	return reasons
}

// reasonsOfDiagnoses are those of all findings that the sources of this package make.
func reasonsOfDiagnoses(t *testing.T) []reason {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var reasons []reason
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, declaration := range parse(t, file).Decls {
			function, isFunction := declaration.(*ast.FuncDecl)
			if !isFunction || function.Name.Name == "degraded" || function.Name.Name == "progressing" {
				continue
			}
			from := "operator/internal/diagnosis/" + file + ", " + function.Name.Name
			for _, expression := range givenIn(function) {
				place := function.Name.Name + ": " + types.ExprString(expression)
				switch name := unquoted(expression); {
				case name != "":
					reasons = append(reasons, reason{name, from})
				case taken[place] == nil:
					t.Errorf("%s: which reasons can %s be? List them in taken", from, types.ExprString(expression))
				default:
					for _, name := range taken[place] {
						reasons = append(reasons, reason{name, from})
					}
				}
			}
		}
	}
	if len(reasons) < 60 {
		t.Fatalf("only %d findings are found in the sources", len(reasons))
	}
	return reasons
}

// givenIn are the expressions that a function makes the reasons of findings.
func givenIn(function *ast.FuncDecl) []ast.Expr {
	var expressions []ast.Expr
	ast.Inspect(function, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.CallExpr:
			if called := types.ExprString(n.Fun); called == "degraded" || called == "progressing" {
				expressions = append(expressions, n.Args[0])
			}
		case *ast.KeyValueExpr:
			if key, isName := n.Key.(*ast.Ident); isName && key.Name == "Reason" {
				expressions = append(expressions, n.Value)
			}
		}
		return true
	})
	return expressions
}

// unquoted is the text of a literal, and empty for other expressions.
func unquoted(expression ast.Expr) string {
	literal, isLiteral := expression.(*ast.BasicLit)
	if !isLiteral {
		return ""
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return text
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
