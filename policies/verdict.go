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

// Verdict is what one rule says of one place.
type Verdict struct {
	// ID is the rule.
	ID string `json:"id"`
	// Severity is deny, warn, audit or exempt.
	Severity Severity `json:"severity"`
	// Message says what was found, and what is allowed.
	Message string `json:"message"`
	// Path is a field of the JupyterServer (spec.jupyterServer.image), or of a rendered object (StatefulSet/alice: spec...).
	Path string `json:"path"`
	// Remediation says what to do.
	Remediation string `json:"remediation"`
	// Exemption is the admin's reason for setting the verdict aside (severity exempt).
	Exemption string `json:"exemption,omitempty"`

	// excess is how far a bound is passed, 0 where there is none.
	excess float64
}

// Result is a complete answer.
type Result struct {
	// Verdicts are sorted: refusals first, then warnings, then the rest; then by rule, path and message.
	Verdicts []Verdict `json:"verdicts"`
}

// Denied says whether the server is refused.
func (r Result) Denied() bool { return len(r.Denials()) > 0 }

// Denials are the verdicts that refuse the server.
func (r Result) Denials() []Verdict { return r.of(Deny) }

// Warnings are the verdicts that only tell.
func (r Result) Warnings() []Verdict { return r.of(Warn) }

// Audited are the verdicts of rules that are only tried out. They are for the admin.
func (r Result) Audited() []Verdict { return r.of(Audit) }

// Exempted are the verdicts that the admin has set aside for this server.
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

// order sorts verdicts: refusals first, then warnings, then the rest.
func order(verdicts []Verdict) {
	rank := func(v Verdict) int { return slices.Index([]Severity{Deny, Warn, Audit, Exempt}, v.Severity) }
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message), cmp.Compare(a.Remediation, b.Remediation),
		)
	})
}

// answer is the shape of a verdict in Rego.
type answer struct {
	ID          string   `json:"id"`
	Severity    Severity `json:"severity"`
	Message     string   `json:"message"`
	Path        string   `json:"path"`
	Remediation string   `json:"remediation"`
	Excess      float64  `json:"excess"`
}

// read takes verdicts of exactly the shape that rules must give.
func read(value any) ([]Verdict, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("the verdicts are %T, but must be a set", value)
	}
	verdicts := make([]Verdict, 0, len(list))
	for _, item := range list {
		verdict, err := readOne(item)
		if err != nil {
			return nil, fmt.Errorf("a verdict: %w", err)
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}

func readOne(item any) (Verdict, error) {
	raw, err := json.Marshal(item)
	if err != nil {
		return Verdict{}, err
	}
	a := answer{Severity: Deny}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a); err != nil {
		return Verdict{}, err
	}
	if !ruleID.MatchString(a.ID) || a.Message == "" || a.Path == "" {
		return Verdict{}, fmt.Errorf("%s lacks an id such as team-label, a message or a path", raw)
	}
	if !slices.Contains([]Severity{Deny, Warn, Audit}, a.Severity) {
		return Verdict{}, fmt.Errorf("%s has a severity that is none of deny, warn and audit", raw)
	}
	return Verdict{
		ID: a.ID, Severity: a.Severity, Message: oneLine(a.Message), Path: oneLine(a.Path), Remediation: oneLine(a.Remediation), excess: a.Excess,
	}, nil
}

// maxText is what a message may have. It goes into answers of the API server, conditions and logs.
const maxText = 1024

// oneLine keeps a spec from writing lines of its own into somebody's log.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1 // text would read as another one
		}
		return r
	}, text)
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "..."
}
