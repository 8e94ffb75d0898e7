// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command gotest summarizes the output of `go test -json`: a line for each package and each slow test, and the whole output of
// failures. It fails if a test failed, if none ran, and in CI (CI=true) if one was skipped: a test that skips itself because of a
// missing dependency must not count as passed.
//
//	go test -json ./... | gotest
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// slow is the duration above which a test has its own line.
const slow = 2 * time.Second

// event is a line of `go test -json` (go doc test2json), or of `go build -json` (go help buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

// summary accumulates events.
type summary struct {
	out                     io.Writer
	passed, failed, skipped []string
	packages                int
	failedPackages          []string
	output                  map[string]*strings.Builder // of tests and packages that are still running
	tests                   map[string]int              // number of passed tests by package
}

func main() {
	s := &summary{out: os.Stdout, output: map[string]*strings.Builder{}, tests: map[string]int{}}
	err := s.read(os.Stdin)
	if err == nil {
		err = s.verdict(os.Getenv("CI") == "true")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func (s *summary) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) line(line string) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		fmt.Fprint(s.out, line) // output of another program
		return
	}
	switch e.Action {
	case "output":
		s.buffer(e.key()).WriteString(e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		fmt.Fprintf(s.out, "FAIL  %s does not build\n", e.ImportPath)
	case "pass", "fail", "skip":
		s.ended(e)
	}
}

func (e event) key() string { return e.Package + " " + e.Test }

func (s *summary) buffer(key string) *strings.Builder {
	if s.output[key] == nil {
		s.output[key] = &strings.Builder{}
	}
	return s.output[key]
}

func (s *summary) ended(e event) {
	text := s.buffer(e.key()).String()
	delete(s.output, e.key())
	if e.Test == "" {
		s.packageEnded(e, text)
		return
	}
	took := time.Duration(e.Elapsed * float64(time.Second))
	switch e.Action {
	case "fail":
		s.failed = append(s.failed, e.key())
		fmt.Fprintf(s.out, "FAIL  %s (%s)\n%s", e.key(), took, text)
	case "skip":
		s.skipped = append(s.skipped, e.key())
		fmt.Fprintf(s.out, "SKIP  %s\n%s", e.key(), text)
	default:
		s.passed = append(s.passed, e.key())
		s.tests[e.Package]++
		if took >= slow && !strings.Contains(e.Test, "/") {
			fmt.Fprintf(s.out, "ok    %s (%s)\n", e.key(), took)
		}
	}
}

func (s *summary) packageEnded(e event, text string) {
	switch e.Action {
	case "fail":
		s.failedPackages = append(s.failedPackages, e.Package)
		fmt.Fprintf(s.out, "FAIL  %s (%.1fs)\n%s", e.Package, e.Elapsed, text)
	case "pass":
		s.packages++
		fmt.Fprintf(s.out, "ok    %s: %d tests (%.1fs)\n", e.Package, s.tests[e.Package], e.Elapsed)
	}
}

func (s *summary) verdict(ci bool) error {
	fmt.Fprintf(s.out, "%d tests passed in %d packages, %d failed, %d skipped\n", len(s.passed), s.packages, len(s.failed), len(s.skipped))
	for _, output := range s.output { // of killed tests
		fmt.Fprint(s.out, output.String())
	}
	switch {
	case len(s.failed) > 0:
		return fmt.Errorf("failed: %s", strings.Join(s.failed, ", "))
	case len(s.failedPackages) > 0:
		return fmt.Errorf("failed: %s", strings.Join(s.failedPackages, ", "))
	case len(s.passed) == 0:
		return errors.New("no test ran")
	case len(s.skipped) > 0 && ci:
		return fmt.Errorf("skipped tests are not allowed in CI: %s", strings.Join(s.skipped, ", "))
	}
	return nil
}
