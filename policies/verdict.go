// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Verdict is a violation of one rule at one path.
type Verdict struct {
	// ID is the ID of the rule.
	ID string `json:"id"`
	// Severity is deny, warn, audit or exempt.
	Severity Severity `json:"severity"`
	// Message states what was found and what is allowed.
	Message string `json:"message"`
	// Path is a field of the JupyterServer (spec.jupyterServer.image) or of a rendered object (StatefulSet/alice: spec...).
	Path string `json:"path"`
	// Remediation is how to fix it.
	Remediation string `json:"remediation"`
	// Exemption is the reason of the exemption, with severity exempt.
	Exemption string `json:"exemption,omitempty"`

	// excess is how far a bound is exceeded, or 0.
	excess float64
}

// Result is a complete result.
type Result struct {
	// Verdicts are sorted: denials first, then warnings, then the rest; then by rule, path and message.
	Verdicts []Verdict `json:"verdicts"`
}

// Denied reports whether the server is denied.
func (r Result) Denied() bool { return len(r.Denials()) > 0 }

// Denials returns the verdicts that deny the server.
func (r Result) Denials() []Verdict { return r.of(Deny) }

// Warnings returns the verdicts that only warn.
func (r Result) Warnings() []Verdict { return r.of(Warn) }

// Audited returns the verdicts of rules with severity audit, which are for the administrator.
func (r Result) Audited() []Verdict { return r.of(Audit) }

// Exempted returns the verdicts that are covered by an exemption.
func (r Result) Exempted() []Verdict { return r.of(Exempt) }

func (r Result) of(severity Severity) []Verdict {
	var out []Verdict
	for _, v := range r.Verdicts {
		if v.Severity == severity {
			out = append(out, v)
		}
	}
	return out
}

// sortVerdicts sorts denials first, then warnings, then the rest.
func sortVerdicts(verdicts []Verdict) {
	rank := func(v Verdict) int { return slices.Index([]Severity{Deny, Warn, Audit, Exempt}, v.Severity) }
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message), cmp.Compare(a.Remediation, b.Remediation),
		)
	})
}

// verdictJSON is the structure of a verdict in Rego.
type verdictJSON struct {
	ID          string   `json:"id"`
	Severity    Severity `json:"severity"`
	Message     string   `json:"message"`
	Path        string   `json:"path"`
	Remediation string   `json:"remediation"`
	Excess      float64  `json:"excess"`
}

// decodeVerdicts decodes verdicts and rejects any other structure.
func decodeVerdicts(value any) ([]Verdict, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("verdicts is %T, but must be a set", value)
	}
	verdicts := make([]Verdict, 0, len(list))
	for _, item := range list {
		verdict, err := decodeVerdict(item)
		if err != nil {
			return nil, fmt.Errorf("invalid verdict: %w", err)
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}

func decodeVerdict(item any) (Verdict, error) {
	raw, err := json.Marshal(item)
	if err != nil {
		return Verdict{}, err
	}
	a := verdictJSON{Severity: Deny}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a); err != nil {
		return Verdict{}, err
	}
	if !ruleID.MatchString(a.ID) || a.Message == "" || a.Path == "" {
		return Verdict{}, fmt.Errorf("%s must have an id such as team-label, a message and a path", raw)
	}
	if !slices.Contains([]Severity{Deny, Warn, Audit}, a.Severity) {
		return Verdict{}, fmt.Errorf("%s must have the severity deny, warn or audit", raw)
	}
	return Verdict{
		ID: a.ID, Severity: a.Severity, Message: oneLine(a.Message), Path: oneLine(a.Path), Remediation: oneLine(a.Remediation), excess: a.Excess,
	}, nil
}

// maxMessage limits a message, in bytes. It ends up in responses of the API server, conditions and logs.
const maxMessage = 1024

// oneLine keeps a spec from injecting lines into logs.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1 // it would change how the text reads
		}
		return r
	}, text)
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "..."
}
