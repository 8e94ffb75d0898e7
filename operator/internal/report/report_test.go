// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

func write(t *testing.T, format string, r Report) string {
	t.Helper()
	writer, err := Format(format)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writer(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func verdict(id string, severity policies.Severity, path, message string) Verdict {
	return Verdict{Verdict: policies.Verdict{ID: id, Severity: severity, Path: path, Message: message, Remediation: "Fix it."}}
}

// hostile is text that a spec, a file name or an error may contain.
const hostile = "\x1b[31m\x00\n\r\u202e\u2028]]></failure><x>&\"'[a](https://evil.example.org) {0} \xff"

func hostileReport() Report {
	exempt := verdict("own", policies.Exempt, hostile, hostile)
	exempt.Exemption = hostile
	return Report{Servers: []Server{
		{File: hostile, Line: 3, Namespace: hostile, Name: hostile, Verdicts: []Verdict{verdict("own", policies.Deny, hostile, hostile), exempt}},
		{File: hostile, Err: errors.New(hostile)},
	}}
}

func TestHostileTextIsEscaped(t *testing.T) {
	table := write(t, "table", hostileReport())
	if i := strings.IndexFunc(table, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || r == '\u202e' || r == '\u2028') }); i >= 0 {
		t.Errorf("the table contains %q at %d", table[i], i)
	}
	decoder := xml.NewDecoder(strings.NewReader(write(t, "junit", hostileReport())))
	elements := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			elements[start.Name.Local]++
		}
	}
	if want := map[string]int{"testsuites": 1, "testsuite": 1, "testcase": 2, "failure": 1, "error": 1, "system-out": 1}; !reflect.DeepEqual(elements, want) {
		t.Errorf("elements %v, want %v", elements, want)
	}
	for _, format := range []string{"json", "sarif"} {
		if out := write(t, format, hostileReport()); !json.Valid([]byte(out)) || !utf8.ValidString(out) {
			t.Errorf("invalid %s:\n%s", format, out)
		}
	}
	if sarif := write(t, "sarif", hostileReport()); regexp.MustCompile(`"text": ".*\[a\]\(https:`).MatchString(sarif) {
		t.Errorf("a message contains a link:\n%s", sarif)
	}
}

func TestTableIsNarrow(t *testing.T) {
	r := Report{Servers: []Server{{File: "servers.yaml", Namespace: "science", Name: "alice", Verdicts: []Verdict{
		verdict("own", policies.Deny, "spec.pod", strings.Repeat("many words ", 100)),
		verdict("own", policies.Deny, "spec.pod", "one word: "+strings.Repeat("x", 200)+" and more"),
	}}}}
	for line := range strings.Lines(write(t, "table", r)) {
		if utf8.RuneCountInString(line) > width+1 && !strings.Contains(line, "xxx") {
			t.Errorf("a line of %d: %s", len(line), line)
		}
	}
}

func TestEmpty(t *testing.T) {
	for format, want := range map[string]string{"table": "0 compliant, 0 denied", "json": `"servers": []`, "sarif": `"results": []`, "junit": `tests="0"`} {
		if out := write(t, format, Report{}); !strings.Contains(out, want) {
			t.Errorf("%s lacks %q:\n%s", format, want, out)
		}
	}
	if _, err := Format("xml"); err == nil || !strings.Contains(err.Error(), "json, junit, sarif, table") {
		t.Errorf("got %v", err)
	}
}

// sarifOf writes and reads a report with one server, and fails if a property is missing that SARIF requires.
func sarifOf(t *testing.T, s Server, catalog ...policies.RuleInfo) sarifRun {
	t.Helper()
	var log sarifLog
	decoder := json.NewDecoder(strings.NewReader(write(t, "sarif", Report{Version: "1", Rules: catalog, Servers: []Server{s}})))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" || len(log.Runs[0].Invocations) != 1 {
		t.Fatalf("a property is missing: %+v", log)
	}
	run := log.Runs[0]
	for _, result := range run.Results {
		if result.Message.Text == "" || result.RuleIndex < 0 || run.Tool.Driver.Rules[result.RuleIndex].ID != result.RuleID || result.Suppressions == nil {
			t.Errorf("a property is missing: %+v", result)
		}
	}
	for _, rule := range run.Tool.Driver.Rules {
		if rule.Short.Text == "" || rule.Full.Text == "" || rule.Help.Text == "" {
			t.Errorf("a text is missing: %+v", rule)
		}
	}
	return run
}

func TestSARIF(t *testing.T) {
	exempt := verdict("hosts", policies.Exempt, "spec.routing.host", "m")
	exempt.Exemption = "a try"
	run := sarifOf(t, Server{File: "a b/c#d.yaml", Namespace: "n", Name: "alice", Verdicts: []Verdict{
		verdict("own", policies.Deny, "StatefulSet/alice: spec.replicas", "m"),
		verdict("hosts", policies.Warn, "spec.routing.host", "m"),
		verdict("rendered-kinds", policies.Audit, "Job/x", "m"),
		exempt,
	}}, policies.RuleInfo{ID: "hosts", Title: "T", Description: "D", Remediation: "R", Severity: policies.Deny})
	var levels, names []string
	for _, result := range run.Results {
		levels = append(levels, result.Level)
		names = append(names, result.Locations[0].Logical[0].QualifiedName)
		if uri := result.Locations[0].Physical.Artifact.URI; uri != "a%20b/c%23d.yaml" {
			t.Errorf("the file is %s", uri)
		}
	}
	if want := []string{"error", "warning", "note", "warning"}; !reflect.DeepEqual(levels, want) {
		t.Errorf("levels %q, want %q", levels, want)
	}
	if want := []string{"n/StatefulSet/alice: spec.replicas", "n/JupyterServer/alice: spec.routing.host", "n/Job/x", "n/JupyterServer/alice: spec.routing.host"}; !reflect.DeepEqual(names, want) {
		t.Errorf("places %q, want %q", names, want)
	}
	if got := run.Results[3].Suppressions; len(got) != 1 || got[0].Justification != "a try" || len(run.Results[0].Suppressions) > 0 {
		t.Errorf("suppressions %+v", run.Results)
	}
	want := sarifRule{ID: "hosts", Short: sarifText{"T"}, Full: sarifText{"T: D"}, Help: sarifText{"R"}, Default: &sarifConfiguration{"error"}}
	if got := run.Tool.Driver.Rules[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("rule %+v", got)
	}
}

// TestFingerprints: the fingerprint of a finding does not depend on the value or the line.
func TestFingerprints(t *testing.T) {
	prints := func(file string, line int, verdicts ...Verdict) []string {
		var out []string
		for _, result := range sarifOf(t, Server{File: file, Line: line, Namespace: "n", Name: "alice", Verdicts: verdicts}).Results {
			out = append(out, result.Fingerprints["verdict/v1"])
		}
		return out
	}
	first := prints("a.yaml", 1, verdict("x", policies.Deny, "spec.a", "m"), verdict("x", policies.Deny, "spec.a", "n"))
	again := prints("b.yaml", 2, verdict("x", policies.Warn, "spec.a", "o"), verdict("x", policies.Warn, "spec.a", "p"))
	if !reflect.DeepEqual(first, again) || first[0] == first[1] {
		t.Errorf("fingerprints %q, then %q", first, again)
	}
	if other := prints("a.yaml", 1, verdict("x", policies.Deny, "spec.b", "m")); other[0] == first[0] {
		t.Error("another path has the same fingerprint")
	}
}

func TestLines(t *testing.T) {
	text := `# one
kind: Other
apiVersion: v1
---
# a comment
apiVersion: v1
kind: Wanted
metadata:
  labels:
    example.org/a.b: x
    example.org: y
spec:
  list:
    - name: a
      image: b

    - {name: c,
       image: d}
  shared: &shared
    deep: 1
  alias: *shared
  empty:
---
{"apiVersion": "v1", "kind": "Wanted",
 "spec": {"a": 1}}
---
a: b: c
---
apiVersion: v1
kind: Wanted
`
	documents := Documents([]byte(text), "v1", "Wanted")
	if len(documents) != 2 || documents[0].Start() != 6 || documents[1].Start() != 24 {
		t.Fatalf("got %d documents: %+v", len(documents), documents)
	}
	for _, test := range []struct {
		reason, path string
		want         int
	}{
		{"a field", "spec.list", 13},
		{"an item", "spec.list[1]", 17},
		{"a field of an item", "spec.list[1].image", 18},
		{"a key with dots", "metadata.labels.example.org/a.b", 10},
		{"a key that is a prefix of another one", "metadata.labels.example.org", 11},
		{"a missing field has the line of its parent", "spec.list[0].resources.limits", 14},
		{"a missing item", "spec.list[2].image", 13},
		{"a field of a value", "spec.list[0].name.more", 14},
		{"a field of an empty value", "spec.empty.more", 22},
		{"an alias", "spec.alias.deep", 20},
		{"a path of another object", "StatefulSet/alice: spec.list[0]", 6},
		{"no path", "", 6},
		{"nonsense", "[.].]..[x][99999999999999999999]", 6},
	} {
		if got := documents[0].Line(test.path); got != test.want {
			t.Errorf("%s: %s is at %d, want %d", test.reason, test.path, got, test.want)
		}
	}
	if got := documents[1].Line("spec.a"); got != 25 {
		t.Errorf("JSON: %d", got)
	}
}
