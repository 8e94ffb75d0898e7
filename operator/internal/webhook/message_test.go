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

func TestRefusal(t *testing.T) {
	verdict := func(n int) policies.Verdict {
		return policies.Verdict{ID: fmt.Sprintf("rule-%d", n), Path: fmt.Sprintf("spec.a[%d]", n), Message: "it is wrong", Remediation: "Mend it."}
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
		{reason: "one is one line", given: many[:1], want: "spec.a[0]: it is wrong (rule rule-0). Mend it."},
		{
			reason: "two are a list, in the order given", given: many[:2],
			want: "there are 2 reasons:\n- spec.a[0]: it is wrong (rule rule-0). Mend it.\n- spec.a[1]: it is wrong (rule rule-1). Mend it.",
		},
		{
			reason: "an admin's rule may end its message with a stop and say nothing about what to do",
			given:  []policies.Verdict{{ID: "own", Path: "metadata.labels", Message: "The label is missing."}},
			want:   "metadata.labels: The label is missing (rule own).",
		},
	}
	for _, test := range tests {
		if got := refusal(test.given); got != test.want {
			t.Errorf("%s: %q, but should be %q", test.reason, got, test.want)
		}
	}
	if got := refusal(many); !strings.HasPrefix(got, "there are 13 reasons:") || !strings.HasSuffix(got, "\n- and 3 more") || strings.Count(got, "\n") != 11 {
		t.Errorf("thirteen give %q", got)
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
			reason: "one that fits is whole", given: policies.Verdict{ID: "a", Path: "spec.b", Message: "it is odd", Remediation: "Mend it."},
			want: []string{"rule a: spec.b: it is odd. Mend it."},
		},
		{
			reason: "of a long one, what to do is kept", given: policies.Verdict{ID: "a", Path: "spec.b", Message: "allowed are: " + long, Remediation: "Mend it."},
			want: []string{"rule a: spec.b: allowed are: docker.io, ", "... Mend it."},
		},
		{
			reason: "when that is long itself, the message is kept", given: policies.Verdict{ID: "a", Path: "spec.b", Message: "it is odd", Remediation: long},
			want: []string{"rule a: spec.b: it is odd."},
		},
		{
			reason: "characters count, not bytes", given: policies.Verdict{ID: "a", Path: "spec.b", Message: strings.Repeat("ä", 400)},
			want: []string{"rule a: spec.b: ää", "ää..."},
		},
		{
			reason: "a path may be long, too", given: policies.Verdict{ID: "a", Path: strings.Repeat("b", 400), Message: "it is odd", Remediation: "Mend it."},
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
		t.Errorf("forty give %d: %q", len(got), got[len(got)-1])
	}
	if got := warnings(make([]policies.Verdict, maxWarnings)); len(got) != maxWarnings || strings.Contains(got[maxWarnings-1], "more") {
		t.Errorf("the last of %d is %q", maxWarnings, got[len(got)-1])
	}
}

func TestPolicyErrorIsOneLine(t *testing.T) {
	got := policyError(&policies.EvaluationError{Err: errors.New("a\n\tb " + strings.Repeat("c", 2000))})
	if !strings.HasPrefix(got, "PolicyError: ") || strings.ContainsAny(got, "\n\t") || len(got) > 800 || !strings.Contains(got, "The cause: a b ccc") {
		t.Errorf("%d characters: %q", len(got), got)
	}
}
