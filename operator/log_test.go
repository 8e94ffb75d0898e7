// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestNewLogger(t *testing.T) {
	tests := []struct {
		reason, format, level string
		want                  []string // in the output
		not                   []string
		err                   string
	}{
		{reason: "one JSON object for each line", format: "json", level: "info", want: []string{`"msg":"installed"`, `"server":"alice"`, `"level":"ERROR"`}, not: []string{"decided"}},
		{reason: "text for people", format: "text", level: "info", want: []string{"msg=installed server=alice"}, not: []string{"decided"}},
		{reason: "debug shows why", format: "json", level: "debug", want: []string{"installed", "decided"}},
		{reason: "only errors", format: "json", level: "error", want: []string{"failed"}, not: []string{"installed"}},
		{reason: "a format that does not exist", format: "xml", level: "info", err: "--log-format"},
		{reason: "a level that does not exist", format: "json", level: "chatty", err: "--log-level"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var out bytes.Buffer
			log, err := newLogger(&out, test.format, test.level)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want an error about %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			log.Info("installed", "server", "alice")
			log.V(1).Info("decided")
			log.Error(errors.New("no"), "failed")
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in %s", want, out.String())
				}
			}
			for _, not := range test.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("%q is in %s", not, out.String())
				}
			}
		})
	}
}
