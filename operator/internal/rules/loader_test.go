// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// rego returns a module with one rule that always denies.
func rego(id string) map[string]string {
	return map[string]string{"rule.rego": strings.Replace(good, "one", id, 1)}
}

// bad has a syntax error in its fourth line.
var bad = map[string]string{"rule.rego": broken}

// TestNothingRunsAfterTheEnd is not parallel, so that no goroutines of other tests are running.
func TestNothingRunsAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	w.apply("a", rego("a"))
	w.apply("b", bad)
	r := w.ready()
	w.apply("b", rego("b"))
	r.wants("a", "b")
	r.stop()
	w.eventually("all goroutines end", func() error { // the manager does not wait for the event recorder
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			return err
		}
		for stack := range strings.SplitSeq(stacks.String(), "\n\n") {
			for _, part := range []string{"rules.(*Loader)", "tools/cache", "tools/events", "policies.", "opa/v1"} {
				if strings.Contains(stack, part) {
					return fmt.Errorf("still runs: %s", stack)
				}
			}
		}
		return nil
	})
}

// TestRulesFollowTheConfigMaps is not parallel, because it measures how long changes take.
func TestRulesFollowTheConfigMaps(t *testing.T) {
	w := newWorld(t)
	r := w.ready()
	r.wantsSoon()
	nothing := r.digest()
	if nothing == "" {
		t.Error("the empty set has no digest")
	}

	w.apply("a", rego("a"))
	r.wantsSoon("a")
	w.wantEvents("a", "Normal RulesAccepted The rules are in force.")
	r.wantMetric(acceptedMetric, map[string]float64{"a": 1})
	r.wantMetric(infoMetric, map[string]float64{r.digest(): 1})
	r.wantMetric(inForceMetric, map[string]float64{"": 1})

	// The data may change without the rule, and the other way round.
	w.apply("b", map[string]string{"rule.rego": strings.Replace(good, `"one"`, "data.ids.b", 1), "ids.yaml": "ids: {b: b-first}"})
	r.wantsSoon("a", "b-first")
	w.patch("b", `{"data": {"ids.yaml": "ids: {b: b-second}"}}`)
	r.wantsSoon("a", "b-second")

	w.patch("b", `{"metadata": {"labels": {"`+Label+`": null}}}`)
	r.wantsSoon("a")
	r.wantMetric(acceptedMetric, map[string]float64{"a": 1})
	w.patch("b", `{"metadata": {"labels": {"`+Label+`": "true"}}}`)
	r.wantsSoon("a", "b-second")
	w.patch("b", `{"metadata": {"labels": {"`+Label+`": "false"}}}`)
	r.wantsSoon("a")
	w.patch("a", `{"data": null}`)
	r.wantsSoon()
	w.delete("a")
	r.wantMetric(acceptedMetric, map[string]float64{})
	r.eventually("the set is empty", func() error {
		if got := r.digest(); got != nothing {
			return fmt.Errorf("the digest of the empty set is %s, want %s", got, nothing)
		}
		return nil
	})
	r.wantMetric(refusalsMetric, map[string]float64{"": 0})
}

func TestOtherConfigMapsAreIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.applyIn(apiservertest.NewNamespace(t, suite.client), "elsewhere", rego("elsewhere"))
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "no-label"}, Data: rego("no-label")})
	w.create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "of-a-server", Labels: map[string]string{Label: LabelValue, v1alpha1.ServerLabel: "alice"}},
		Data:       rego("of-a-server"),
	})
	r := w.ready()
	w.applyIn(apiservertest.NewNamespace(t, suite.client), "elsewhere-later", rego("elsewhere-later"))
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "no-label-later"}, Data: rego("no-label-later")})
	r.keeps()
}

func TestInvalidConfigMapIsRejected(t *testing.T) {
	for _, test := range []struct {
		reason string
		files  map[string]string
		note   string
		slow   bool // keeps a processor busy
	}{
		{"it does not parse", bad, "rule.rego:4: ", false},
		{"it does not compile", map[string]string{"rule.rego": good + "\nx := inptu.object\n"}, "rule.rego:5: ", false},
		{"a test of it fails", map[string]string{"rule.rego": good, "rule_test.rego": "package jupyterserver.custom.a_test\n\ntest_it if false\n"}, "rule_test.rego:3: ", false},
		{"it takes too long", map[string]string{"rule.rego": "package jupyterserver.custom.a\n\nverdicts := {x | some x in numbers.range(1, 100000000)}\n"}, "rule.rego: ", true},
		{"it has a file of another kind", map[string]string{"rule.rego": good, "notes.txt": "x"}, "notes.txt: ", false},
		{"its data is invalid", map[string]string{"rule.rego": good, "ids.json": "{"}, "ids.json: ", false},
		{"it uses a library that does not exist", map[string]string{"rule.rego": strings.Replace(needs, "lib.shared", "lib.wrong", 1)}, "rule.rego:3: ", false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			if test.slow {
				w.timeout = 2 * time.Second
			} else {
				t.Parallel()
			}
			w.apply("a", rego("a"))
			w.apply("b", rego("b"))
			r := w.ready()
			r.wants("a", "b")

			// The previous version stays, and changes of others are accepted.
			w.apply("a", test.files)
			w.apply("b", rego("b-second"))
			w.apply("c", rego("c"))
			r.wants("a", "b-second", "c")
			w.wantEvents("a", "Warning RulesRefused "+test.note)
			if got := w.events("a")[0]; !strings.HasSuffix(got, ". The last accepted version stays in force.") {
				t.Errorf("the event is %q", got)
			}
			w.wantEvents("b", "Normal RulesAccepted ")
			r.wantMetric(acceptedMetric, map[string]float64{"a": 0, "b": 1, "c": 1})
			r.wantMetric(refusalsMetric, map[string]float64{"": 1})

			// Other changes are accepted, and an event is not repeated.
			w.apply("c", rego("c-second"))
			r.wants("a", "b-second", "c-second")
			w.wantEvents("a", "Warning RulesRefused "+test.note)

			w.apply("a", rego("fixed"))
			r.wants("b-second", "c-second", "fixed")
			w.wantEvents("a", "Warning RulesRefused "+test.note, "Normal RulesAccepted ")
			r.wantMetric(acceptedMetric, map[string]float64{"a": 1, "b": 1, "c": 1})
		})
	}
}

func TestNewInvalidConfigMapIsOmitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("b", rego("b"))
	r := w.ready()
	w.apply("a", bad)
	w.wantEvents("a", "Warning RulesRefused rule.rego:4: ")
	if got := w.events("a")[0]; !strings.HasSuffix(got, ". Nothing of this ConfigMap is in force.") {
		t.Errorf("the event is %q", got)
	}
	r.wants("b")
	r.wantMetric(inForceMetric, map[string]float64{"": 1})
	w.create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Labels: map[string]string{Label: LabelValue}}, BinaryData: map[string][]byte{"rule.rego": {0xff}},
	})
	w.wantEvents("c", "Warning RulesRefused rule.rego: binary data")
	r.wantMetric(acceptedMetric, map[string]float64{"a": 0, "b": 1, "c": 0})

	// Another invalid change is reported as well, until the ConfigMap is deleted.
	w.apply("a", map[string]string{"rule.rego": "package main\n"})
	w.wantEvents("a", "Warning RulesRefused rule.rego:4: ", "Warning RulesRefused rule.rego:1: ")
	w.delete("a")
	r.wantMetric(acceptedMetric, map[string]float64{"b": 1, "c": 0})
	r.wants("b")
}

func TestStartWithAnInvalidConfigMap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("a", rego("a"))
	w.apply("b", bad)
	r := w.ready() // an unready replica would make the webhook unavailable

	rejected := func(parts ...string) error {
		_, err := r.ids()
		var evaluation *policies.EvaluationError
		if !errors.As(err, &evaluation) || evaluation.Reason() != policies.ReasonPolicyError {
			return fmt.Errorf("got %w, want an EvaluationError", err)
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				return fmt.Errorf("got %w, want %q in it", err, part)
			}
		}
		return nil
	}
	if err := rejected("b/rule.rego:4: ", w.namespace); err != nil {
		t.Error(err)
	}
	w.wantEvents("b", "Warning RulesRefused rule.rego:4: ")
	if got := w.events("b")[0]; !strings.HasSuffix(got, ". No policies are in force: no server is installed or changed until this is fixed.") {
		t.Errorf("the event is %q", got)
	}
	r.wantMetric(acceptedMetric, map[string]float64{"b": 0})
	r.wantMetric(inForceMetric, map[string]float64{"": 0})
	r.wantMetric(infoMetric, map[string]float64{})
	if digest := r.digest(); digest != "" || r.changed.Load() != 1 {
		t.Errorf("digest %q, changed %d times", digest, r.changed.Load())
	}

	// Valid ones do not help, and other invalid ones are named.
	w.apply("c", rego("c"))
	w.apply("d", bad)
	w.eventually("both mistakes are reported", func() error { return rejected("b/rule.rego:4: ", "d/rule.rego:4: ") })
	w.delete("d")
	w.eventually("only one mistake is reported", func() error {
		if rejected("d/rule.rego:4: ") == nil {
			return errors.New("d is still named")
		}
		return rejected("b/rule.rego:4: ")
	})
	if events := w.events("c"); len(events) > 0 {
		t.Errorf("events of c, which is not in force: %q", events)
	}

	w.apply("b", rego("b"))
	r.wants("a", "b", "c")
	w.wantEvents("b", "Warning RulesRefused ", "Normal RulesAccepted ")
	w.wantEvents("c", "Normal RulesAccepted ")
	r.wantMetric(acceptedMetric, map[string]float64{"a": 1, "b": 1, "c": 1})
	r.wantMetric(inForceMetric, map[string]float64{"": 1})

	// From now on there is a last accepted set.
	w.apply("b", bad)
	w.wantEvents("b", "Warning RulesRefused ", "Normal RulesAccepted ", "Warning RulesRefused ")
	r.wants("a", "b", "c")
	if events := w.events("a"); len(events) > 0 {
		t.Errorf("events of a, which never changed: %q", events)
	}
}

func TestStartWritesNoEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("a", rego("a"))
	for range 2 {
		r := w.ready()
		r.wants("a")
		r.stop()
	}
	if events := w.events("a"); len(events) > 0 {
		t.Errorf("events: %q", events)
	}
}

func TestEarlierConfigMapStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("b", map[string]string{"rule.rego": strings.Replace(good, `"one"`, "data.id", 1), "id.yaml": "id: first"})
	r := w.ready()
	r.wants("first")

	w.apply("a", map[string]string{"id.yaml": "id: second"}) // the evaluator's error names the later name, which is b
	w.wantEvents("a", "Warning RulesRefused it breaks other ConfigMaps: b/id.yaml: ")
	r.wants("first")
	r.wantMetric(acceptedMetric, map[string]float64{"a": 0, "b": 1})

	w.patch("b", `{"data": {"id.yaml": null}}`) // resolves the conflict
	r.wants("second")
	w.wantEvents("a", "Warning RulesRefused ", "Normal RulesAccepted ")
}

func TestNeededConfigMapStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("lib", map[string]string{"lib.rego": library})
	w.apply("a", map[string]string{"rule.rego": needs})
	r := w.ready()
	r.wants("one")

	w.apply("lib", map[string]string{"lib.rego": renamed})
	w.wantEvents("lib", "Warning RulesRefused it breaks other ConfigMaps: a/rule.rego:3: ")
	r.wants("one")

	w.delete("lib")
	w.wantEvents("a", "Warning RulesRefused rule.rego:3: ")
	if got := w.events("a")[0]; !strings.HasSuffix(got, ". It stays in force together with the deleted ConfigMaps that it needs (lib).") {
		t.Errorf("the event is %q", got)
	}
	r.wantMetric(acceptedMetric, map[string]float64{"a": 0})
	r.wants("one")

	w.apply("b", rego("b")) // is not blocked by that
	r.wants("b", "one")
	w.apply("a", rego("a"))
	r.wants("a", "b")
	w.wantEvents("a", "Warning RulesRefused ", "Normal RulesAccepted ")

	// The library is deleted now, so a ConfigMap that needs it is rejected.
	w.apply("a", map[string]string{"rule.rego": needs})
	w.wantEvents("a", "Warning RulesRefused ", "Normal RulesAccepted ", "Warning RulesRefused rule.rego:3: ")
	r.wants("a", "b")
}

// TestAnotherMistakeOfTheSameVersionIsReported: events without a field path would be aggregated, and the first note would stay,
// because the ConfigMap did not change.
func TestAnotherMistakeOfTheSameVersionIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ready()
	w.apply("a", map[string]string{"rule.rego": needs + "\nother := data.jupyterserver.lib.other.value(1)\n"})
	w.wantEvents("a", "Warning RulesRefused rule.rego:3: ")
	w.apply("shared", map[string]string{"lib.rego": library})
	w.wantEvents("a", "Warning RulesRefused rule.rego:3: ", "Warning RulesRefused rule.rego:5: ")
	w.apply("other", map[string]string{"lib.rego": "package jupyterserver.lib.other\n\nvalue(x) := x\n"})
	r.wants("one")
	w.wantEvents("a", "Warning RulesRefused rule.rego:3: ", "Warning RulesRefused rule.rego:5: ", "Normal RulesAccepted ")
}

func TestRejectionIsRetried(t *testing.T) {
	for _, test := range []struct {
		reason            string
		before            time.Duration
		isRetry, rejected bool
		want              time.Duration
	}{
		{"no rejection", 0, false, false, 0},
		{"a change is rejected", 0, false, true, firstRetry},
		{"it is rejected again", firstRetry, true, true, 2 * firstRetry},
		{"it is rejected for long", lastRetry, true, true, lastRetry},
		{"another change is rejected", lastRetry, false, true, firstRetry},
		{"no rejection any longer", lastRetry, true, false, 0},
	} {
		l := &Loader{retry: test.before, retryTimer: stoppedTimer()}
		if l.schedule(test.isRetry, test.rejected); l.retry != test.want {
			t.Errorf("%s: %v, want %v", test.reason, l.retry, test.want)
		}
	}
}

func TestChangesDoNotPostponeARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Loader{
			informer: cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.ConfigMap{}, 0, nil),
			changes:  make(chan struct{}, 1), retryTimer: stoppedTimer(), inForce: set{}, seen: set{}.identity(), leading: true, started: true,
		}
		l.schedule(false, true)
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() {
			if err := l.follow(ctx); err != nil {
				t.Error(err)
			}
		})
		for range 2 * firstRetry / time.Second { // without changes of rules
			time.Sleep(time.Second)
			l.wake()
		}
		cancel()
		following.Wait()
		if l.retry != 0 {
			t.Errorf("no retry happened, the next one is in %v", l.retry)
		}
	})
}

// TestStartTimeoutIsRetried: a busy node must not end the operator, because restarting it again and again makes the node busier.
func TestStartTimeoutIsRetried(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{nil, {"a"}, {"a", "b"}} {
		w := newWorld(t)
		w.timeout = time.Nanosecond
		for _, name := range names {
			w.apply(name, rego(name))
		}
		r := w.start(nil)
		w.eventually("the timeout is reported", func() error {
			if err := r.loader.Ready(nil); err == nil || !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("with %v readiness is %w", names, err)
			}
			_, err := r.ids()
			if evaluation := (*policies.EvaluationError)(nil); !errors.As(err, &evaluation) || !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("with %v the result is %w", names, err)
			}
			return nil
		})
		r.stop() // reports an error if it ended early
		if r.loader.retry != firstRetry || r.changed.Load() != 1 {
			t.Errorf("with %v the retry is in %v, and Changed was called %d times", names, r.loader.retry, r.changed.Load())
		}
	}
}

func TestABurstEndsInTheLastState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ready()
	before := r.changed.Load()
	start := time.Now()
	for i := range 50 {
		if i%7 == 3 {
			w.apply("a", bad)
			continue
		}
		w.apply("a", rego(fmt.Sprintf("a-%d", i)))
	}
	took := time.Since(start)
	r.wants("a-49")
	changed := r.changed.Load() - before
	r.keeps("a-49")
	if int(changed) > int(took/maxDelay)+2 {
		t.Errorf("50 changes in %v were not batched: Changed was called %d times", took, changed)
	}
}

func TestNothingHappensWhenNoRuleChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("a", rego("a"))
	r := w.ready()
	before := r.changed.Load()
	for i := range 3 {
		w.patch("a", fmt.Sprintf(`{"metadata": {"annotations": {"seen": "%d"}}}`, i))
		time.Sleep(2 * quietPeriod)
	}
	r.keeps("a")
	w.apply("a", rego("a"))
	r.keeps("a")
	r.eventually("Changed is called", func() error {
		if changed := r.changed.Load(); changed != before+2 || before != 1 { // the 2 changes of keeps
			return fmt.Errorf("changed %d times, and %d before", changed, before)
		}
		return nil
	})
	if events := w.events("a"); len(events) > 0 {
		t.Errorf("events: %q", events)
	}
}

func TestMissingPermissionIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("a", rego("a"))
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "rules"}}
	if err := suite.client.Delete(w.ctx, binding); err != nil {
		t.Fatal(err)
	}
	r := w.start(nil)
	w.eventually("the missing permission is reported", func() error {
		if err := r.loader.Ready(nil); err == nil || !strings.Contains(err.Error(), "forbidden") || !strings.Contains(err.Error(), w.namespace) {
			return fmt.Errorf("readiness is %w", err)
		}
		if _, err := r.ids(); err == nil || !strings.Contains(err.Error(), "forbidden") {
			return fmt.Errorf("the result is %w", err)
		}
		return nil
	})
	w.bind("rules")
	r.waitUntilReady()
	r.wants("a")
}

func TestEveryReplicaLoadsAndTheLeaderWritesEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease, renew, retry := 15*time.Second, 10*time.Second, 200*time.Millisecond
	election := func(o *ctrl.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace, o.LeaderElectionReleaseOnCancel = true, "operator", w.namespace, true
		o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = &lease, &renew, &retry
	}
	first := w.start(election)
	first.waitUntilReady()
	<-first.mgr.Elected()
	second := w.start(election)
	second.waitUntilReady()

	w.apply("a", rego("a"))
	w.apply("b", bad)
	first.wants("a")
	second.wants("a")
	w.wantEvents("a", "Normal RulesAccepted ")
	w.wantEvents("b", "Warning RulesRefused ")
	second.wantMetric(acceptedMetric, map[string]float64{"a": 1, "b": 0})
	if first.digest() != second.digest() {
		t.Error("the digests of two replicas differ")
	}

	first.stop()
	<-second.mgr.Elected()
	w.wantEvents("b", "Warning RulesRefused ", "Warning RulesRefused ")
	w.wantEvents("a", "Normal RulesAccepted ")
	w.apply("b", rego("b"))
	second.wants("a", "b")
	w.wantEvents("b", "Warning RulesRefused ", "Warning RulesRefused ", "Normal RulesAccepted ")
}

func TestNamespaceIsRequired(t *testing.T) {
	mgr, err := ctrl.NewManager(suite.operator, ctrl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(mgr, Options{}); err == nil {
		t.Error("the ConfigMaps of all namespaces would be loaded")
	}
}
