// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// RuleInfo holds the annotations of a built-in rule.
type RuleInfo struct {
	// ID identifies the rule in settings and verdicts. Rules about one concern share it.
	ID string
	// Title states the requirement in a few words.
	Title string
	// Description is the reason, and the meaning of the settings.
	Description string
	// Severity is the default.
	Severity Severity
	// Remediation is how to fix a violation.
	Remediation string
	// File and Line are the position of the rule, relative to this folder.
	File string
	Line int
}

// Catalog lists the built-in rules, sorted by id, file and line.
func Catalog() ([]RuleInfo, error) {
	modules, err := parseModules()
	if err != nil {
		return nil, err
	}
	var rules []RuleInfo
	for file, module := range modules {
		for _, rule := range module.Rules {
			if !rule.Head.Name.Equal(ast.Var("verdicts")) {
				continue
			}
			if len(rule.Annotations) != 1 {
				return nil, fmt.Errorf("reading the policies: %s:%d: a rule without annotations", file, rule.Location.Row)
			}
			rules = append(rules, infoOf(file, rule))
		}
	}
	slices.SortFunc(rules, func(a, b RuleInfo) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return rules, nil
}

func infoOf(file string, rule *ast.Rule) RuleInfo {
	annotations := rule.Annotations[0]
	text := func(name string) string {
		value, _ := annotations.Custom[name].(string)
		return value
	}
	return RuleInfo{
		ID:          text("id"),
		Title:       annotations.Title,
		Description: annotations.Description,
		Severity:    Severity(text("severity")),
		Remediation: text("remediation"),
		File:        file,
		Line:        rule.Location.Row,
	}
}
