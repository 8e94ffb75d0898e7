// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"io"
)

// jsonReport is the format for programs: fields may be added, but none may change.
type jsonReport struct {
	Servers []jsonServer `json:"servers"`
	Summary jsonSummary  `json:"summary"`
}

type jsonServer struct {
	File      string    `json:"file,omitempty"`
	Line      int       `json:"line,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name,omitempty"`
	State     State     `json:"state"`
	Error     string    `json:"error,omitempty"`
	Verdicts  []Verdict `json:"verdicts"`
}

type jsonSummary struct {
	Compliant    int `json:"compliant"`
	Denied       int `json:"denied"`
	NotEvaluated int `json:"notEvaluated"`
}

func writeJSON(out io.Writer, r Report) error {
	report := jsonReport{
		Servers: []jsonServer{},
		Summary: jsonSummary{r.Count(Compliant), r.Count(Denied), r.Count(NotEvaluated)},
	}
	for _, s := range r.Servers {
		server := jsonServer{
			File: s.File, Line: s.Line, Namespace: s.Namespace, Name: s.Name, State: s.State(),
			Verdicts: append([]Verdict{}, s.Verdicts...), // an empty list is [] and not null
		}
		if s.Err != nil {
			server.Error = s.Err.Error()
		}
		report.Servers = append(report.Servers, server)
	}
	return encode(out, report)
}

func encode(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
