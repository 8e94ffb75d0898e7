// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"strings"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Verdict is what the policies say of a spec. The zero value is a spec that was not evaluated.
type Verdict struct {
	Asked  bool
	Result policies.Result
	// Failure is why there is no answer.
	Failure *policies.EvaluationError
}

// Problem returns why the policies do not allow a spec, or nil.
func (v Verdict) Problem() *Problem {
	if v.Failure != nil {
		return &Problem{Reason: v1alpha1.ReasonPolicyError, Message: noAnswer(v.Failure)}
	}
	if denials := v.Result.Denials(); len(denials) > 0 {
		return &Problem{Reason: reasonOf(denials[0].ID), Message: denial(denials), Denied: true}
	}
	return nil
}

func noAnswer(failure *policies.EvaluationError) string {
	return sentence("the policies could not be evaluated, so nothing was changed: " + failure.Err.Error() + "; contact your administrator")
}

// reasonOf returns the id of a rule in the spelling of reasons: auth-none is AuthNone.
func reasonOf(rule string) string {
	var reason strings.Builder
	for word := range strings.SplitSeq(rule, "-") {
		reason.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return reason.String()
}

// denial is the first denial in full, and the rules of the others.
func denial(denials []policies.Verdict) string {
	first := denials[0]
	text := fmt.Sprintf("%s (%s, rule %s). %s", first.Message, first.Path, first.ID, first.Remediation)
	if more := otherRules(denials); len(more) > 0 {
		text = fmt.Sprintf("%s Also denied by: %s.", text, strings.Join(more, ", "))
	}
	return sentence(text)
}

// otherRules returns the rules of all but the first verdict, each once.
func otherRules(verdicts []policies.Verdict) []string {
	var rules []string
	seen := map[string]bool{verdicts[0].ID: true}
	for _, v := range verdicts {
		if !seen[v.ID] {
			seen[v.ID] = true
			rules = append(rules, v.ID)
		}
	}
	return rules
}

// notes are the verdicts that deny nothing, in one line.
func notes(result policies.Result) string {
	var parts []string
	for _, v := range result.Verdicts {
		note := fmt.Sprintf("%s %s: %s: %s", v.Severity, v.ID, v.Path, v.Message)
		if v.Severity == policies.Exempt {
			note += " (" + v.Exemption + ")"
		}
		parts = append(parts, note)
	}
	return line(strings.Join(parts, "; "))
}
