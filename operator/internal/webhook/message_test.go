// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

func TestDenialMessage(t *testing.T) {
	verdict := func(n int) policies.Verdict {
		return policies.Verdict{ID: fmt.Sprintf("rule-%d", n), Path: fmt.Sprintf("spec.a[%d]", n), Message: "it is wrong", Remediation: "Fix it."}
	}
	var many []policies.Verdict
	for n := range 13 {
		many = append(many, verdict(n))
	}
	tests := []struct {
		reason string
		given  []policies.Verdict
		want   string
	}{
		{reason: "one denial is one line", given: many[:1], want: "spec.a[0]: it is wrong (rule rule-0). Fix it."},
		{
			reason: "several denials are a list in the given order", given: many[:2],
			want: "2 policy violations:\n- spec.a[0]: it is wrong (rule rule-0). Fix it.\n- spec.a[1]: it is wrong (rule rule-1). Fix it.",
		},
		{
			reason: "a custom rule may end its message with a full stop and have no remediation",
			given:  []policies.Verdict{{ID: "own", Path: "metadata.labels", Message: "The label is missing."}},
			want:   "metadata.labels: The label is missing (rule own).",
		},
	}
	for _, test := range tests {
		if got := denialMessage(test.given); got != test.want {
			t.Errorf("%s: got %q, want %q", test.reason, got, test.want)
		}
	}
	if got := denialMessage(many); !strings.HasPrefix(got, "13 policy violations:") || !strings.HasSuffix(got, "\n- and 3 more") || strings.Count(got, "\n") != 11 {
		t.Errorf("13 denials result in %q", got)
	}
}

func TestWarnings(t *testing.T) {
	long := strings.Repeat("docker.io, ", 40)
	tests := []struct {
		reason string
		given  policies.Verdict
		want   []string // parts
	}{
		{
			reason: "a short warning is complete", given: policies.Verdict{ID: "a", Path: "spec.b", Message: "it is odd", Remediation: "Fix it."},
			want: []string{"rule a: spec.b: it is odd. Fix it."},
		},
		{
			reason: "the remediation of a long warning is kept", given: policies.Verdict{ID: "a", Path: "spec.b", Message: "allowed are: " + long, Remediation: "Fix it."},
			want: []string{"rule a: spec.b: allowed are: docker.io, ", "... Fix it."},
		},
		{
			reason: "the message is kept if the remediation is long", given: policies.Verdict{ID: "a", Path: "spec.b", Message: "it is odd", Remediation: long},
			want: []string{"rule a: spec.b: it is odd."},
		},
		{
			reason: "the limit is in characters, not bytes", given: policies.Verdict{ID: "a", Path: "spec.b", Message: strings.Repeat("ä", 400)},
			want: []string{"rule a: spec.b: ää", "ää..."},
		},
		{
			reason: "a long path is shortened", given: policies.Verdict{ID: "a", Path: strings.Repeat("b", 400), Message: "it is odd", Remediation: "Fix it."},
			want: []string{"rule a: bbb", "..."},
		},
	}
	for _, test := range tests {
		got := warnings([]policies.Verdict{test.given})
		if len(got) != 1 || utf8.RuneCountInString(got[0]) > maxWarning || !utf8.ValidString(got[0]) {
			t.Errorf("%s: %q", test.reason, got)
			continue
		}
		for _, part := range test.want {
			if !strings.Contains(got[0], part) {
				t.Errorf("%s: %q is not in %q", test.reason, part, got[0])
			}
		}
	}
	got := warnings(make([]policies.Verdict, 40))
	if len(got) != maxWarnings || got[maxWarnings-1] != "and 29 more warnings" || len(got)*maxWarning > 4096 {
		t.Errorf("40 warnings result in %d: %q", len(got), got[len(got)-1])
	}
	if got := warnings(make([]policies.Verdict, maxWarnings)); len(got) != maxWarnings || strings.Contains(got[maxWarnings-1], "more") {
		t.Errorf("the last of %d is %q", maxWarnings, got[len(got)-1])
	}
}

func TestPolicyErrorIsOneLine(t *testing.T) {
	got := policyError(&policies.EvaluationError{Err: errors.New("a\n\tb " + strings.Repeat("c", 2000))})
	if !strings.HasPrefix(got, "PolicyError: ") || strings.ContainsAny(got, "\n\t") || len(got) > 800 || !strings.Contains(got, "Error: a b ccc") {
		t.Errorf("%d characters: %q", len(got), got)
	}
}
