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
	// maxRefusals is how many refusals one answer lists: nobody reads more at once.
	maxRefusals = 10
	// maxWarning is how many characters of a warning the API server keeps when they are many.
	maxWarning = 256
	// maxWarnings keeps all of them below the 4096 characters that the API server passes on.
	maxWarnings = 12
	// maxCause keeps the cause of a PolicyError, which may hold a trace of Rego, within a message.
	maxCause = 512
)

// refusal says what stands against a server.
func refusal(denials []policies.Verdict) string {
	if len(denials) == 1 {
		return refusalOf(denials[0])
	}
	var out strings.Builder
	fmt.Fprintf(&out, "there are %d reasons:", len(denials))
	for _, v := range denials[:min(len(denials), maxRefusals)] {
		out.WriteString("\n- " + refusalOf(v))
	}
	if more := len(denials) - maxRefusals; more > 0 {
		fmt.Fprintf(&out, "\n- and %d more", more)
	}
	return out.String()
}

func refusalOf(v policies.Verdict) string {
	return join(fmt.Sprintf("%s: %s (rule %s).", v.Path, unpointed(v.Message), v.ID), v.Remediation)
}

// warnings are the warnings as they are shown, none longer than the API server lets it be.
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
	// What to do is worth more than the end of a long list of what is allowed.
	left := maxWarning - utf8.RuneCountInString(head) - utf8.RuneCountInString(v.Remediation) - 1
	if v.Remediation != "" && left >= maxWarning/4 {
		return head + cut(message, left) + " " + v.Remediation
	}
	return shorten(head + message)
}

func policyError(err *policies.EvaluationError) string {
	return fmt.Sprintf("%s: the policies gave no answer, so nothing was changed. It is not the fault of this server: ask the admin of the cluster, "+
		"whose rules it may be, and try again. The cause: %s", err.Reason(), sentence(cut(oneLine(err.Err.Error()), maxCause)))
}

func shorten(text string) string { return cut(oneLine(text), maxWarning) }

// cut shortens a text to a number of characters, at the end of a word where one is near.
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

// oneLine keeps a text in the one line that a header of HTTP has.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}

// sentence ends a text as a sentence ends.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, "...") {
		return text
	}
	return unpointed(text) + "."
}

func unpointed(text string) string { return strings.TrimRight(text, ". \n") }

func join(text, remediation string) string {
	if remediation == "" {
		return text
	}
	return text + " " + remediation
}
