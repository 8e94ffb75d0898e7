// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// The elements of JUnit reports that readers agree on. encoding/xml replaces characters that XML does not allow.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Suites []*junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name string `xml:"name,attr"`
		junitCounts
		Cases []junitCase `xml:"testcase"`
	}
	junitCounts struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitProblem `xml:"failure,omitempty"`
		Error   *junitProblem `xml:"error,omitempty"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes a suite for each file, or for each namespace of a cluster, and a case for each server.
func writeJUnit(out io.Writer, r Report) error {
	all := junitSuites{Name: "jupyter-server-operator check"}
	for _, s := range r.Servers {
		suite := all.suite(cmp.Or(s.File, s.Namespace, s.Title()))
		suite.Cases = append(suite.Cases, s.junit())
		suite.add(s.State())
		all.add(s.State())
	}
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}

// suite returns the suite with a name, and adds it if there is none.
func (s *junitSuites) suite(name string) *junitSuite {
	if i := slices.IndexFunc(s.Suites, func(suite *junitSuite) bool { return suite.Name == name }); i >= 0 {
		return s.Suites[i]
	}
	suite := &junitSuite{Name: name}
	s.Suites = append(s.Suites, suite)
	return suite
}

func (c *junitCounts) add(state State) {
	c.Tests++
	switch state {
	case Denied:
		c.Failures++
	case NotEvaluated:
		c.Errors++
	case Compliant:
	}
}

func (s Server) junit() junitCase {
	c := junitCase{Class: cmp.Or(s.Namespace, s.Title()), Name: cmp.Or(s.Name, s.Title()), File: s.File, Line: s.Line}
	if s.Err != nil {
		c.Error = &junitProblem{Message: "could not be evaluated", Type: string(NotEvaluated), Text: s.Err.Error()}
	}
	if denials := s.of(policies.Deny); len(denials) > 0 {
		c.Failure = &junitProblem{Message: "denied by " + strings.Join(ids(denials), ", "), Type: string(Denied), Text: s.texts(denials)}
	}
	c.Out = s.texts(s.of(policies.Warn, policies.Audit, policies.Exempt))
	return c
}

func ids(verdicts []Verdict) []string {
	var out []string
	for _, v := range verdicts {
		out = append(out, v.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// texts returns the full text of verdicts, one item per line.
func (s Server) texts(verdicts []Verdict) string {
	var text strings.Builder
	for _, v := range verdicts {
		fmt.Fprintf(&text, "%s%s: %s: %s: %s\n", s.at(v.Line), v.Severity, v.ID, v.Path, v.Message)
		if v.Remediation != "" && v.Severity != policies.Exempt {
			fmt.Fprintf(&text, "%sTo do: %s\n", indent, v.Remediation)
		}
		if v.Exemption != "" {
			fmt.Fprintf(&text, "%sExempt: %s\n", indent, v.Exemption)
		}
	}
	return text.String()
}
