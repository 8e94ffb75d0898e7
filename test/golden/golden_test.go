// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorder is a test that notes its failure instead of failing.
type recorder struct {
	testing.TB
	name, failure string
}

func (r *recorder) Helper()                           {}
func (r *recorder) Name() string                      { return r.name }
func (r *recorder) Errorf(format string, args ...any) { r.failure = fmt.Sprintf(format, args...) }

const command = "where the change is meant, rewrite the golden: go test ./test/golden -run '^TestGolden$' -update"

func TestCheck(t *testing.T) {
	numbered := func(from, to int) (lines string) {
		for i := from; i < to; i++ {
			lines += fmt.Sprintln("line", i)
		}
		return lines
	}
	for _, test := range []struct {
		reason, golden, content string
		want                    []string // lines of the failure after the first one; none: the test passes
	}{
		{reason: "the same is no failure", golden: "a\nb\n", content: "a\nb\n"},
		{reason: "a difference shows what is next to it and no more, and how to update comes last",
			golden: numbered(0, 100), content: numbered(0, 50) + "new\n" + numbered(50, 100),
			want: []string{"--- golden", "+++ now", "@@ -48,6 +48,7 @@", " line 47", " line 48", " line 49", "+new", " line 50", " line 51", " line 52", command}},
		{reason: "a long difference is cut off", golden: numbered(0, 100), content: "",
			want: append(append([]string{"--- golden", "+++ now", "@@ -1,101 +1 @@"}, prefixed(numbered(0, 37))...), "... and 64 more lines", command)},
		{reason: "a newline that is missing at the end is a difference", golden: "a\n", content: "a",
			want: []string{"--- golden", "+++ now", "@@ -1,2 +1 @@", " a", "-", command}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "golden.txt")
			if err := os.WriteFile(file, []byte(test.golden), 0o600); err != nil {
				t.Fatal(err)
			}
			r := &recorder{TB: t, name: "TestGolden/one of them"}
			Check(r, file, test.content)
			_, failure, _ := strings.Cut(r.failure, " differs from what comes out now:\n")
			if want := strings.Join(test.want, "\n"); failure != want {
				t.Errorf("the failure is\n%s\nwant\n%s", r.failure, want)
			}
			if raw, err := os.ReadFile(file); err != nil || string(raw) != test.golden {
				t.Errorf("the golden holds %q now: %v", raw, err)
			}
		})
	}
}

func prefixed(lines string) []string {
	return strings.Split(strings.TrimSuffix("-"+strings.ReplaceAll(lines, "\n", "\n-"), "\n-"), "\n")
}

func TestCheckOfAMissingGolden(t *testing.T) {
	r := &recorder{TB: t, name: "TestGolden"}
	Check(r, "testdata/nothing.txt", "new\n")
	if !strings.HasPrefix(r.failure, "test/golden/testdata/nothing.txt differs ") || !strings.HasSuffix(r.failure, "\n"+command) {
		t.Errorf("the failure is\n%s", r.failure)
	}
}

func TestUpdateRewritesTheGolden(t *testing.T) {
	*update = true
	t.Cleanup(func() { *update = false })
	file := filepath.Join(t.TempDir(), "golden.txt")
	for _, content := range []string{"first\n", "second\n"} {
		Check(t, file, content)
		if raw, err := os.ReadFile(file); err != nil || string(raw) != content {
			t.Errorf("the golden holds %q, want %q: %v", raw, content, err)
		}
	}
}
