// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	const (
		pass  = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
		fail  = `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n"
		skip  = `{"Action":"skip","Package":"p","Test":"TestC"}` + "\n"
		ended = `{"Action":"pass","Package":"p"}` + "\n"
	)
	tests := map[string]struct {
		in     string
		ci     bool
		err    string
		reason string
	}{
		"passed":            {in: pass + ended, ci: true, reason: "one test ran"},
		"failed":            {in: pass + fail, err: "TestB", reason: "a failed test is named"},
		"skipped in CI":     {in: pass + skip + ended, ci: true, err: "TestC", reason: "a skipped test is named"},
		"skipped elsewhere": {in: pass + skip + ended, reason: "a skipped test is reported and does not fail"},
		"none":              {in: ended, err: "no test ran", reason: "no test ran"},
		"nothing":           {in: "", err: "no test ran", reason: "the run was aborted"},
		"package":           {in: pass + `{"Action":"fail","Package":"q"}`, err: "q", reason: "a package can fail before its tests"},
		"no test files":     {in: pass + `{"Action":"skip","Package":"q"}` + "\n" + ended, ci: true, reason: "a package without tests is not a skipped test"},
		"other lines":       {in: "==> installing\n{oddly}\n" + pass + ended, ci: true, reason: "other programs print as well"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &summary{out: io.Discard, output: map[string]*strings.Builder{}, tests: map[string]int{}}
			if err := s.read(strings.NewReader(test.in)); err != nil {
				t.Fatal(err)
			}
			err := s.verdict(test.ci)
			if (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q: %s", err, test.err, test.reason)
			}
		})
	}
}

func TestOutputOfAFailureIsShown(t *testing.T) {
	var out strings.Builder
	s := &summary{out: &out, output: map[string]*strings.Builder{}, tests: map[string]int{}}
	in := `{"Action":"output","Package":"p","Test":"TestA","Output":"saw 7\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestA"}
`
	if err := s.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "saw 7") || strings.Contains(out.String(), "quiet") {
		t.Errorf("got:\n%s", out.String())
	}
}
