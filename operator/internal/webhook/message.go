// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

const (
	// maxDenials is the maximum of denials in one answer: a longer list is not readable.
	maxDenials = 10
	// maxWarning is the number of characters to which the API server truncates a warning if there are many.
	maxWarning = 256
	// maxWarnings keeps the sum of all warnings below the API server's limit of 4096 characters.
	maxWarnings = 12
	// maxCause limits the cause of a PolicyError, which may contain a Rego trace.
	maxCause = 512
)

// denialMessage lists the violations of a denied server.
func denialMessage(denials []policies.Verdict) string {
	if len(denials) == 1 {
		return describe(denials[0])
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d policy violations:", len(denials))
	for _, v := range denials[:min(len(denials), maxDenials)] {
		out.WriteString("\n- " + describe(v))
	}
	if more := len(denials) - maxDenials; more > 0 {
		fmt.Fprintf(&out, "\n- and %d more", more)
	}
	return out.String()
}

func describe(v policies.Verdict) string {
	return join(fmt.Sprintf("%s: %s (rule %s).", v.Path, trimStop(v.Message), v.ID), v.Remediation)
}

// warnings returns the warnings to show, none longer than the API server accepts.
func warnings(verdicts []policies.Verdict) []string {
	var out []string
	for i, v := range verdicts {
		if left := len(verdicts) - i; i == maxWarnings-1 && left > 1 {
			return append(out, fmt.Sprintf("and %d more warnings", left))
		}
		out = append(out, warningOf(v))
	}
	return out
}

func warningOf(v policies.Verdict) string {
	head, message := fmt.Sprintf("rule %s: %s: ", v.ID, v.Path), sentence(v.Message)
	full := join(head+message, v.Remediation)
	if utf8.RuneCountInString(full) <= maxWarning {
		return full
	}
	if utf8.RuneCountInString(head+message) <= maxWarning {
		return head + message
	}
	// The remediation is more useful than the end of a long list of allowed values.
	left := maxWarning - utf8.RuneCountInString(head) - utf8.RuneCountInString(v.Remediation) - 1
	if v.Remediation != "" && left >= maxWarning/4 {
		return head + cut(message, left) + " " + v.Remediation
	}
	return shorten(head + message)
}

func policyError(err *policies.EvaluationError) string {
	return fmt.Sprintf("%s: the policy evaluation failed, so nothing was changed. Your JupyterServer is not the cause: contact your administrator, "+
		"and try again. Error: %s", err.Reason(), sentence(cut(oneLine(err.Err.Error()), maxCause)))
}

func shorten(text string) string { return cut(oneLine(text), maxWarning) }

// cut shortens a text to a number of characters, preferably at the end of a word.
func cut(text string, limit int) string {
	const dots = "..."
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	kept := string(runes[:max(0, limit-len(dots))])
	if space := strings.LastIndexByte(kept, ' '); space > len(kept)*3/4 {
		kept = kept[:space]
	}
	return kept + dots
}

// oneLine removes line breaks from a text for an HTTP header.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}

// sentence ends a text with a full stop.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, "...") {
		return text
	}
	return trimStop(text) + "."
}

func trimStop(text string) string { return strings.TrimRight(text, ". \n") }

func join(text, remediation string) string {
	if remediation == "" {
		return text
	}
	return text + " " + remediation
}
