// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// width is the maximum width of wrapped lines.
const width = 120

// indent precedes the lines below a row.
const indent = "    "

// writeTable writes a row for each verdict and, wrapped below it, the message and the remediation.
func writeTable(out io.Writer, r Report) error {
	var rows bytes.Buffer
	table := tabwriter.NewWriter(&rows, 0, 0, 3, ' ', 0)
	var below [][]string // the lines under each row
	row := func(lines []string, cells ...string) {
		for i := range cells {
			cells[i] = Plain(cells[i])
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
		below = append(below, lines)
	}
	row(nil, "SERVER", "VERDICT", "RULE", "PATH")
	for _, s := range r.Servers {
		switch {
		case s.Err != nil:
			row(wrap(s.at(s.Line)+s.Err.Error()), s.Title(), "not evaluated", "", "")
		case len(s.Verdicts) == 0:
			row(nil, s.Title(), "compliant", "", "")
		}
		for _, v := range s.Verdicts {
			row(s.explain(v), s.Title(), string(v.Severity), v.ID, v.Path)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var text strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(rows.String(), "\n"), "\n") {
		for _, line := range append([]string{line}, below[i]...) {
			text.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	fmt.Fprintf(&text, "\n%s\n", r.summary())
	_, err := io.WriteString(out, text.String())
	return err
}

func (r Report) summary() string {
	text := fmt.Sprintf("%d compliant, %d denied", r.Count(Compliant), r.Count(Denied))
	if failed := r.Count(NotEvaluated); failed > 0 {
		text += fmt.Sprintf(", %d not evaluated", failed)
	}
	return text
}

func (s Server) explain(v Verdict) []string {
	lines := wrap(s.at(v.Line) + v.Message)
	if v.Remediation != "" && v.Severity != policies.Exempt {
		lines = append(lines, wrap("To do: "+v.Remediation)...)
	}
	if v.Exemption != "" {
		lines = append(lines, wrap("Exempt: "+v.Exemption)...)
	}
	return lines
}

// at returns the prefix that compilers print before a message, so that editors and terminals find the place.
func (s Server) at(line int) string {
	switch {
	case s.File == "":
		return ""
	case line == 0:
		return s.File + ": "
	}
	return fmt.Sprintf("%s:%d: ", s.File, line)
}

// wrap breaks a text into indented lines. A word that is longer than a line is not broken.
func wrap(text string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(Plain(text)) {
		if line != "" && utf8.RuneCountInString(indent+line+" "+word) > width {
			lines = append(lines, indent+line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, indent+line)
}
