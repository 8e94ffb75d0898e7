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

// Report is the result of evaluating servers, in output order.
type Report struct {
	// Version is the version of the program.
	Version string
	// Rules describe the built-in rules.
	Rules []policies.RuleInfo
	// Servers are the evaluated servers.
	Servers []Server
}

// State is the result for a server.
type State string

const (
	// Compliant is a server that no rule denies.
	Compliant State = "compliant"
	// Denied is a server that a rule denies.
	Denied State = "denied"
	// NotEvaluated is a server or a file without a result.
	NotEvaluated State = "notEvaluated"
)

// Server is one server with its verdicts, or the reason why there are none.
type Server struct {
	// File is the file with the server. It is empty for a server of a cluster.
	File string
	// Line is the line at which the server starts. It is 0 if it is unknown, like every line in this package.
	Line int
	// Namespace and Name identify the server. They are empty if a file could not be read.
	Namespace, Name string
	// Verdicts are the verdicts of the rules.
	Verdicts []Verdict
	// Err is the reason why the rules were not evaluated, or failed.
	Err error
}

// Verdict is a verdict and the line that it refers to.
type Verdict struct {
	policies.Verdict
	// Line is the line of the field, or of the nearest enclosing field.
	Line int `json:"line,omitempty"`
}

// State returns the result for the server.
func (s Server) State() State {
	switch {
	case s.Err != nil:
		return NotEvaluated
	case len(s.of(policies.Deny)) > 0:
		return Denied
	}
	return Compliant
}

// Title identifies the server in the output: NAMESPACE/NAME, or the file.
func (s Server) Title() string {
	if s.Name == "" {
		return cmp.Or(s.File, "standard input")
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

// Count returns the number of servers in a state.
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

// Format returns the function that writes a report in a format: table, json, sarif or junit.
func Format(name string) (func(io.Writer, Report) error, error) {
	write, known := formats[name]
	if !known {
		return nil, fmt.Errorf("%q is not one of %s", name, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
	}
	return write, nil
}

// Plain keeps external text from controlling a terminal, or adding lines.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}
