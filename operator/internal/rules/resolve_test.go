// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

const (
	good    = "package jupyterserver.custom.NAME\n\nverdicts contains {\"id\": \"one\", \"message\": \"m\", \"path\": \"p\"}\n"
	better  = "package jupyterserver.custom.NAME\n\nverdicts contains {\"id\": \"two\", \"message\": \"m\", \"path\": \"p\"}\n"
	broken  = "package jupyterserver.custom.NAME\n\nverdicts contains {\n"
	needs   = "package jupyterserver.custom.NAME\n\nverdicts contains data.jupyterserver.lib.shared.verdict(\"one\")\n"
	library = "package jupyterserver.lib.shared\n\nverdict(id) := {\"id\": id, \"message\": \"m\", \"path\": \"p\"}\n"
	renamed = "package jupyterserver.lib.shared\n\nrefusal(id) := {\"id\": id, \"message\": \"m\", \"path\": \"p\"}\n"
)

// setOf returns a set of the texts, by names CONFIGMAP/KEY.
func setOf(files map[string]string) set {
	data := map[string]map[string]string{}
	for file, text := range files {
		name, key, _ := strings.Cut(file, "/")
		if data[name] == nil {
			data[name] = map[string]string{}
		}
		data[name][key] = strings.Replace(text, "NAME", name, 1)
	}
	s := set{}
	for name, files := range data {
		s[name] = versionOf(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: files})
	}
	return s
}

func TestResolve(t *testing.T) {
	for _, test := range []struct {
		reason           string
		inForce, present map[string]string // inForce is nil if there is no set yet
		changed          []string          // accepted changes to the set in force
		rejected         map[string]string // prefix of the first error
		kept             []string
		most             int // maximum of compiled sets
	}{
		{
			reason:  "all are valid at the start",
			present: map[string]string{"a/x.rego": good, "b/x.rego": good, "c/x.yaml": "x: 1"},
			changed: []string{"a", "b", "c"}, most: 1,
		},
		{
			reason:  "nothing changed",
			inForce: map[string]string{"a/x.rego": good}, present: map[string]string{"a/x.rego": good},
		},
		{
			reason:   "an invalid one is reverted, the changes of others are accepted",
			inForce:  map[string]string{"a/x.rego": good, "b/x.rego": good, "c/x.rego": good, "d/x.rego": good},
			present:  map[string]string{"a/x.rego": broken, "b/x.rego": better, "d/x.rego": good, "e/x.rego": good},
			changed:  []string{"b", "c", "e"},
			rejected: map[string]string{"a": "a/x.rego:4: "}, most: 2,
		},
		{
			reason:  "a new invalid one is omitted",
			inForce: map[string]string{"a/x.rego": good}, present: map[string]string{"a/x.rego": good, "b/x.rego": broken},
			rejected: map[string]string{"b": "b/x.rego:4: "}, most: 1,
		},
		{
			reason:  "a deleted ConfigMap is removed",
			inForce: map[string]string{"a/x.rego": good, "b/x.rego": good}, present: map[string]string{"a/x.rego": good},
			changed: []string{"b"}, most: 1,
		},
		{
			reason:  "a file that is neither Rego nor data",
			inForce: map[string]string{}, present: map[string]string{"a/x.rego": good, "a/readme.md": "x"},
			rejected: map[string]string{"a": "a/readme.md: "}, most: 1,
		},
		{
			reason:  "all invalid ones are found, for different errors",
			inForce: map[string]string{},
			present: map[string]string{
				"a/x.rego": broken, "b/x.rego": needs, "c/x.rego": good, "c/x_test.rego": "package jupyterserver.custom.t\n\ntest_x if false\n",
				"d/x.rego": good, "e/x.yaml": "jupyterserver: {}",
			},
			changed:  []string{"d"},
			rejected: map[string]string{"a": "a/x.rego:4: ", "b": "b/x.rego:3: ", "c": "c/x_test.rego:3: ", "e": "e/x.yaml: "}, most: 4,
		},
		{
			reason:  "a duplicate data key: the later name is newer",
			inForce: map[string]string{"a/x.yaml": "x: 1"}, present: map[string]string{"a/x.yaml": "x: 1", "b/y.yaml": "x: 2"},
			rejected: map[string]string{"b": "b/y.yaml: "}, most: 1,
		},
		{
			reason:  "a duplicate data key: the earlier name is newer",
			inForce: map[string]string{"b/x.yaml": "x: 1"}, present: map[string]string{"b/x.yaml": "x: 1", "a/y.yaml": "x: 2", "c/x.rego": good},
			changed:  []string{"c"},
			rejected: map[string]string{"a": "b/x.yaml: "}, most: 4,
		},
		{
			reason:  "two conflict in one package: the earlier name is newer",
			inForce: map[string]string{"b/x.rego": "package jupyterserver.custom.same\n\nverdicts := set()\n"},
			present: map[string]string{
				"a/x.rego": "package jupyterserver.custom.same\n\nverdicts contains 1\n",
				"b/x.rego": "package jupyterserver.custom.same\n\nverdicts := set()\n",
			},
			rejected: map[string]string{"a": ""}, most: 3,
		},
		{
			reason:  "two conflict in one package: the later name is newer",
			inForce: map[string]string{"a/x.rego": "package jupyterserver.custom.same\n\nverdicts := set()\n"},
			present: map[string]string{
				"a/x.rego": "package jupyterserver.custom.same\n\nverdicts := set()\n",
				"b/x.rego": "package jupyterserver.custom.same\n\nverdicts contains 1\n",
			},
			rejected: map[string]string{"b": ""}, most: 3,
		},
		{
			reason:   "a deleted library that others need stays",
			inForce:  map[string]string{"a/x.rego": needs, "lib/x.rego": library, "z/x.rego": good},
			present:  map[string]string{"a/x.rego": needs, "b/x.rego": good},
			changed:  []string{"b", "z"},
			rejected: map[string]string{"a": "a/x.rego:3: "}, kept: []string{"lib"}, most: 5,
		},
		{
			reason:  "a library is deleted together with its last use",
			inForce: map[string]string{"a/x.rego": needs, "lib/x.rego": library}, present: map[string]string{"a/x.rego": good},
			changed: []string{"a", "lib"}, most: 1,
		},
		{
			reason:  "a library is added together with its first use",
			inForce: map[string]string{"a/x.rego": good}, present: map[string]string{"a/x.rego": needs, "lib/x.rego": library},
			changed: []string{"a", "lib"}, most: 1,
		},
		{
			reason:   "a change of a library that breaks others is rejected",
			inForce:  map[string]string{"a/x.rego": needs, "lib/x.rego": library},
			present:  map[string]string{"a/x.rego": needs, "lib/x.rego": renamed, "b/x.rego": good},
			changed:  []string{"b"},
			rejected: map[string]string{"lib": "a/x.rego:3: "}, most: 4,
		},
		{
			reason:   "a ConfigMap named because of a culprit is tried again without it",
			inForce:  map[string]string{"a/x.rego": needs, "b/x.rego": needs, "lib/x.rego": library},
			present:  map[string]string{"a/x.rego": needs + "\n# changed\n", "b/x.rego": needs, "lib/x.rego": renamed},
			changed:  []string{"a"},
			rejected: map[string]string{"lib": "a/x.rego:3: "}, most: 5,
		},
		{
			reason:  "the culprit is found if all are suspects",
			inForce: map[string]string{"a/x.rego": good},
			present: map[string]string{
				"a/x.rego": good, "b/x.rego": better, "c/x.rego": better,
				"d/x.rego": "package jupyterserver.custom.d\n\nverdicts := {x | some x in numbers.range(1, 100000000)}\n",
				"e/x.rego": better,
			},
			changed:  []string{"b", "c", "e"},
			rejected: map[string]string{"d": "d/x.rego: "}, most: 5,
		},
		{
			reason:   "the culprit is found if all are suspects at the start",
			present:  map[string]string{"a/x.rego": good, "b/x.rego": "package jupyterserver.custom.b\n\nverdicts := {x | some x in numbers.range(1, 100000000)}\n"},
			changed:  []string{"a"},
			rejected: map[string]string{"b": "b/x.rego: "}, most: 4,
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var inForce set
			if test.inForce != nil {
				inForce = setOf(test.inForce)
			}
			r := resolver{build: func(ctx context.Context, sources []policies.Source) (*policies.Evaluator, error) {
				return policies.New(ctx, policies.Options{Config: policies.Default(), Sources: sources, Trials: []policies.Input{sample(t)}, Timeout: 3 * time.Second})
			}, inForce: inForce, present: setOf(test.present)}
			out, err := r.resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := r.changes(out.set); !slices.Equal(slices.Sorted(slices.Values(got)), test.changed) {
				t.Errorf("it changes %v, want %v", got, test.changed)
			}
			if (out.evaluator != nil) != (inForce == nil || len(test.changed) > 0) {
				t.Errorf("unexpected evaluator %v", out.evaluator)
			}
			if got, want := slices.Sorted(maps.Keys(out.rejected)), slices.Sorted(maps.Keys(test.rejected)); !slices.Equal(got, want) {
				t.Errorf("rejected %v, want %v", out.rejected, want)
			}
			for name, start := range test.rejected {
				if got := out.rejected[name].Error(); !strings.HasPrefix(got, start) {
					t.Errorf("rejected %s for %s, want %s...", name, got, start)
				}
			}
			if !slices.Equal(out.kept, test.kept) {
				t.Errorf("kept %v, want %v", out.kept, test.kept)
			}
			if r.tries > test.most {
				t.Errorf("compiled %d sets, want %d at most", r.tries, test.most)
			}
		})
	}
}

func TestResolveStopsAfterTooManyTries(t *testing.T) {
	// An error that names no ConfigMap, whenever more than one changes.
	files := map[string]string{}
	for i := range 26 {
		files[string(rune('a'+i))+"/x.rego"] = good
	}
	r := resolver{build: func(_ context.Context, sources []policies.Source) (*policies.Evaluator, error) {
		if len(sources) > 0 {
			return nil, context.DeadlineExceeded
		}
		return &policies.Evaluator{}, nil
	}, inForce: set{}, present: setOf(files)}
	out, err := r.resolve(t.Context())
	if err != nil || len(out.rejected) != 26 || len(out.set) != 0 || r.tries > maxTries {
		t.Errorf("got %v, %v after %d tries", out, err, r.tries)
	}
}

func TestResolveWithoutAWorkingBaseFails(t *testing.T) {
	r := resolver{build: func(context.Context, []policies.Source) (*policies.Evaluator, error) {
		return nil, context.DeadlineExceeded
	}, present: setOf(map[string]string{"a/x.rego": good})}
	if out, err := r.resolve(t.Context()); err == nil {
		t.Errorf("got %v", out)
	}
}

func TestNotesFitIntoEvents(t *testing.T) {
	for _, test := range []struct {
		reason   string
		mistakes policies.SourceErrors
		want     string
	}{
		{"file and line", policies.SourceErrors{{Source: "a/x.rego", Line: 3, Message: "bad"}}, "x.rego:3: bad. Consequence."},
		{"the ConfigMap as a whole", policies.SourceErrors{{Source: "a", Message: "bad."}}, "bad. Consequence."},
		{"in another ConfigMap", policies.SourceErrors{{Source: "b/x.rego", Line: 3, Message: "bad"}}, "it breaks other ConfigMaps: b/x.rego:3: bad. Consequence."},
		{"two errors with line breaks", policies.SourceErrors{{Source: "a/x.rego", Message: "bad\nworse"}, {Source: "a/y.rego", Message: "too"}}, "x.rego: bad worse; y.rego: too. Consequence."},
		{"a long one", policies.SourceErrors{{Source: "a/x.rego", Message: strings.Repeat("ü", maxNote)}}, ""},
	} {
		got := note("a", test.mistakes, "Consequence.")
		if test.want != "" && got != test.want {
			t.Errorf("%s: %q, want %q", test.reason, got, test.want)
		}
		if len(got) > maxNote || !utf8.ValidString(got) || !strings.HasSuffix(got, ". Consequence.") {
			t.Errorf("%s: %d bytes: %q", test.reason, len(got), got)
		}
	}
}
