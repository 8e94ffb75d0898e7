// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Report is what was judged, in the order in which it shall be shown.
type Report struct {
	// Version is that of the program.
	Version string
	// Rules are what is known of the rules.
	Rules []policies.RuleInfo
	// Servers are what was judged.
	Servers []Server
}

// State says in a word what came of a server.
type State string

const (
	// Compliant is a server that no rule refuses.
	Compliant State = "compliant"
	// Denied is a server that a rule refuses.
	Denied State = "denied"
	// NotEvaluated is a server, or a file, of which it could not be told.
	NotEvaluated State = "notEvaluated"
)

// Server is one server and what the rules say of it, or why nothing is known.
type Server struct {
	// File is where it was read. Empty: not from a file.
	File string
	// Line is where it begins there. 0: not known, as for every line here.
	Line int
	// Namespace and Name are the server's. They are empty when a file could not be read.
	Namespace, Name string
	// Verdicts are what the rules say.
	Verdicts []Verdict
	// Err is why they were not asked, or gave no answer.
	Err error
}

// Verdict is a verdict and the line that it is about.
type Verdict struct {
	policies.Verdict
	// Line is that of the field, or of what it stands in.
	Line int `json:"line,omitempty"`
}

// State says what came of the server.
func (s Server) State() State {
	switch {
	case s.Err != nil:
		return NotEvaluated
	case len(s.of(policies.Deny)) > 0:
		return Denied
	}
	return Compliant
}

// Title is how the server is called: NAMESPACE/NAME, or the file.
func (s Server) Title() string {
	if s.Name == "" {
		return cmp.Or(s.File, "the standard input")
	}
	return s.Namespace + "/" + s.Name
}

func (s Server) of(severities ...policies.Severity) []Verdict {
	var out []Verdict
	for _, v := range s.Verdicts {
		if slices.Contains(severities, v.Severity) {
			out = append(out, v)
		}
	}
	return out
}

// Count says how many servers are in a state.
func (r Report) Count(state State) int {
	count := 0
	for _, s := range r.Servers {
		if s.State() == state {
			count++
		}
	}
	return count
}

var formats = map[string]func(io.Writer, Report) error{
	"json":  writeJSON,
	"junit": writeJUnit,
	"sarif": writeSARIF,
	"table": writeTable,
}

// Format returns what writes a report in a format: table, json, sarif or junit.
func Format(name string) (func(io.Writer, Report) error, error) {
	write, known := formats[name]
	if !known {
		return nil, fmt.Errorf("%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
	}
	return write, nil
}

// Plain keeps what others wrote from steering a terminal, or writing lines of its own.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}
