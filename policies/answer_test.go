// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// withRules returns an evaluator with replaced rules, which define the documents that the evaluator queries.
func withRules(t *testing.T, rules string) *Evaluator {
	t.Helper()
	const settled = "package jupyterserver.admission\nsettled := {}\nreadable_settings := true\n"
	module, err := ast.ParseModule("rules.rego", settled+rules)
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := compile(t.Context(), map[string]*ast.Module{"rules.rego": module}, &custom{data: map[string]any{}}, Options{Config: Default(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return evaluator
}

func TestOnlyCompleteResultsCount(t *testing.T) {
	const complete = "complete := true\n"
	const good = `{"id": "a", "severity": "deny", "message": "m", "path": "p", "remediation": "r"}`
	tests := map[string]struct {
		rules  string
		ok     bool
		reason string
	}{
		"complete":           {complete + "verdicts := {" + good + "}", true, "the result is complete"},
		"nothing found":      {complete + "verdicts := set()", true, "an empty set is complete"},
		"no sentinel":        {"verdicts := set()", false, "the rules may not have been evaluated"},
		"other sentinel":     {"complete := 1\nverdicts := set()", false, "the sentinel is not true"},
		"undefined sentinel": {"complete if input.operation == \"x\"\nverdicts := set()", false, "the sentinel is undefined"},
		"no verdicts":        {complete, false, "verdicts is undefined"},
		"not a set":          {complete + `verdicts := {"a": 1}`, false, "verdicts is an object"},
		"other members":      {complete + "verdicts := {1}", false, "the members are not verdicts"},
		"other severity":     {complete + "verdicts := {" + strings.Replace(good, "deny", "allow", 1) + "}", false, "the severity is unknown"},
		"other field":        {complete + "verdicts := {" + strings.Replace(good, `"id"`, `"x": 1, "id"`, 1) + "}", false, "the field is unknown"},
		"no message":         {complete + "verdicts := {" + strings.Replace(good, `"m"`, `""`, 1) + "}", false, "a verdict needs a message"},
		"conflict":           {complete + "verdicts := set()\nx := y if some y in [1, 2]\nverdicts := {x} if x", false, "the evaluation fails"},
		"error in a call":    {complete + "verdicts := {x | x := to_number(input.operation)}", false, "errors of built-in functions count"},
		"does not end":       {complete + "verdicts := {x | some x in numbers.range(1, 100000000)}", false, "the evaluation has a deadline"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result, err := withRules(t, test.rules).Evaluate(t.Context(), Input{Operation: Create})
			if test.ok != (err == nil) {
				t.Fatalf("%+v, %v, though %s", result, err, test.reason)
			}
			if evaluationErr := (*EvaluationError)(nil); err != nil && (!errors.As(err, &evaluationErr) || evaluationErr.Reason() != ReasonPolicyError) {
				t.Errorf("%T is not an EvaluationError", err)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := withRules(t, "complete := true\nverdicts := {x | some x in numbers.range(1, 1000)}").Evaluate(ctx, Input{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// A panic must not end the operator.
func TestPanicIsAnError(t *testing.T) {
	broken := Evaluator{timeout: time.Second, slots: make(chan struct{}, 1)}
	for range 2 { // it must release its slot as well
		if _, err := broken.Evaluate(t.Context(), Input{Object: &v1alpha1.JupyterServer{}}); err == nil || !strings.Contains(err.Error(), "panic") {
			t.Errorf("got %v, want an error about the panic", err)
		}
	}
}

// An evaluation waits for a slot until its context ends.
func TestWaitingForASlotEnds(t *testing.T) {
	evaluator := withRules(t, "complete := true\nverdicts := set()")
	for range cap(evaluator.slots) {
		evaluator.slots <- struct{}{}
	}
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := evaluator.Evaluate(impatient, Input{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
	waited := make(chan error)
	go func() {
		_, err := evaluator.Evaluate(t.Context(), Input{})
		waited <- err
	}()
	<-evaluator.slots
	if err := <-waited; err != nil {
		t.Errorf("a slot is free, but: %v", err)
	}
}

func TestRulesHaveNoSideEffects(t *testing.T) {
	for _, call := range []string{
		`http.send({"method": "get", "url": "http://example.org"})`, `net.lookup_ip_addr("example.org")`, "opa.runtime()", "time.now_ns()",
		`rand.intn("a", 9)`, `uuid.rfc4122("a")`,
	} {
		module, err := ast.ParseModule("rules.rego", "package a\nx := "+call)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compile(t.Context(), map[string]*ast.Module{"rules.rego": module}, &custom{data: map[string]any{}}, Options{Config: Default()}); err == nil {
			t.Errorf("%s compiles", call)
		}
	}
}

func TestIncompleteInputIsAnError(t *testing.T) {
	evaluator, err := New(t.Context(), Options{Config: Default()})
	if err != nil {
		t.Fatal(err)
	}
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Name: "alice", Namespace: "science"}}
	for name, in := range map[string]Input{
		"everything": {},
		"server":     {Operation: Create, Namespace: Namespace{Name: "science"}},
		"objects":    {Operation: Create, Namespace: Namespace{Name: "science"}, Object: server},
	} {
		if result, err := evaluator.Evaluate(t.Context(), in); !errors.Is(err, ErrIncomplete) {
			t.Errorf("without %s: %+v, %v", name, result, err)
		}
	}
}

func TestMessagesAreOneLine(t *testing.T) {
	rules := "complete := true\nverdicts := {{\"id\": \"a\", \"severity\": \"warn\", \"message\": \"a\\nb\\u001b\\u2028\", \"path\": \"p\", \"remediation\": \"\"}}"
	result, err := withRules(t, rules).Evaluate(t.Context(), Input{})
	if err != nil || len(result.Verdicts) != 1 || result.Verdicts[0].Message != "a b  " {
		t.Errorf("%+v, %v", result, err)
	}
	if long := oneLine(strings.Repeat("é", 4096)); len(long) > maxMessage+len("...") {
		t.Errorf("%d bytes", len(long))
	}
}
