// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// testRule is a custom rule that depends on labels of the namespace. All tests share the rules of the operator; a test changes the
// labels of its namespace as if it changed the rules.
const testRule = `package jupyterserver.custom.suite

verdicts contains {"id": "suite-image", "message": sprintf("the image %s is not allowed", [image]), "path": "spec.jupyterServer.image", "remediation": "Use another one."} if {
	image := input.object.spec.jupyterServer.image
	image == input.namespace.labels["policy-test/forbidden"]
}

verdicts contains {"id": "suite-audit", "severity": "audit", "message": "audited", "path": "metadata.labels"} if {
	input.namespace.labels["policy-test/audit"]
}

verdicts contains {"id": "suite-label", "message": "the label is bad", "path": "metadata.labels"} if {
	input.object.metadata.labels["policy-test/bad"]
}

# A conflict in evaluating: two values for one rule.
broken := value if some value in split(input.namespace.labels["policy-test/broken"], ".")

verdicts contains {"id": "suite-broken", "message": broken, "path": "p"}
`

// label sets labels of the test's namespace. An empty value removes one.
func (w *world) label(labels map[string]string) {
	w.Helper()
	namespace := &corev1.Namespace{}
	w.eventually("labelling the namespace", func() error {
		if err := suite.client.Get(w.ctx, client.ObjectKey{Name: w.namespace}, namespace); err != nil {
			return err
		}
		for key, value := range labels {
			if namespace.Labels[key] = value; value == "" {
				delete(namespace.Labels, key)
			}
		}
		return suite.client.Update(w.ctx, namespace)
	})
}

// compliant waits until the condition PolicyCompliant has a status and reason, and returns the server.
func (w *world) compliant(name string, status metav1.ConditionStatus, reason string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.status(name, fmt.Sprintf("PolicyCompliant is %s, %s", status, reason), func(s v1alpha1.JupyterServerStatus) bool {
		c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPolicyCompliant)
		return c != nil && c.Status == status && c.Reason == reason
	})
}

const forbidden = "policy-test/forbidden"

func TestRejectedServerChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.label(map[string]string{forbidden: "evil"})
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "evil"
	w.create(server)
	message := w.stalled("alice", "SuiteImage")
	for _, part := range []string{"he image evil is not allowed", "spec.jupyterServer.image", "rule suite-image", "Use another one."} {
		if !strings.Contains(message, part) {
			t.Errorf("%q lacks %q", message, part)
		}
	}
	w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
	w.nothingInstalled("alice", nil)
	if err := w.tryGet("alice-jupyter", &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Secret was created (%v)", err)
	}
	w.eventually("the event", func() error { return w.hasEvent("alice", "SuiteImage") })

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "good" })
	w.released("alice")
	w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonCompliant)
}

// hasEvent returns an error unless there is an event of a server with a reason.
func (w *world) hasEvent(name, reason string) error {
	list := &corev1.EventList{}
	if err := suite.client.List(w.ctx, list, client.InNamespace(w.namespace)); err != nil {
		return err
	}
	if !slices.ContainsFunc(list.Items, func(e corev1.Event) bool { return e.InvolvedObject.Name == name && e.Reason == reason }) {
		return fmt.Errorf("no event %s of %s", reason, name)
	}
	return nil
}

// A running server that violates a new rule is marked and keeps running. Its drift is reverted, its upgrades are rejected, and it can
// be suspended.
func TestNewRuleForARunningServer(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "old"
	w.create(server)
	before := w.released("alice")
	url := before.Status.URL

	w.label(map[string]string{forbidden: "old"})
	w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
	set := &appsv1.StatefulSet{}
	w.get("alice", set)
	if *set.Spec.Replicas != 1 {
		t.Fatal("the server was stopped")
	}
	service := &corev1.Service{}
	w.get("alice", service)
	if err := suite.client.Delete(w.ctx, service); err != nil {
		t.Fatal(err)
	}
	w.eventually("the Service is restored", func() error { return w.tryGet("alice", service) })

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Routing.Path = "/elsewhere" })
	after := w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
	if after.Status.Release.Revision != before.Status.Release.Revision || after.Status.URL != url {
		t.Errorf("the server was upgraded: %+v", after.Status)
	}
	if !strings.Contains(after.Status.Message, "the previous revision stays in place") {
		t.Errorf("%q does not say what happens to the server", after.Status.Message)
	}

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })
	w.eventually("the server is stopped", func() error {
		w.get("alice", set)
		if *set.Spec.Replicas != 0 {
			return errors.New("it has a replica")
		}
		return nil
	})
	w.status("alice", "suspended", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateSuspended })

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = false })
	w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
	if w.get("alice", set); *set.Spec.Replicas != 0 {
		t.Error("a denied server was started again")
	}

	w.label(map[string]string{forbidden: ""})
	w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonCompliant)
	w.released("alice")
	w.eventually("the server is started again", func() error {
		w.get("alice", set)
		if *set.Spec.Replicas != 1 {
			return errors.New("it has no replica")
		}
		return nil
	})
	w.eventually("the event", func() error { return w.hasEvent("alice", v1alpha1.ReasonCompliant) })
}

// A denied server that was stopped has the digest of the revision that ran. Reverting drift does not start it.
func TestDeniedServerIsNotStartedAgain(t *testing.T) {
	tests := []struct {
		reason string
		drift  func(*world)
	}{
		{"it is resumed", func(*world) {}},
		{"its Service is deleted", func(w *world) {
			service := &corev1.Service{}
			w.get("alice", service)
			if err := suite.client.Delete(w.ctx, service); err != nil {
				w.Fatal(err)
			}
		}},
		{"its StatefulSet is deleted", func(w *world) {
			set := &appsv1.StatefulSet{}
			w.get("alice", set)
			if err := suite.client.Delete(w.ctx, set); err != nil {
				w.Fatal(err)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			server := w.server("alice")
			server.Spec.JupyterServer.Image = "old"
			w.create(server)
			w.released("alice")
			w.label(map[string]string{forbidden: "old"})
			w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })
			w.status("alice", "suspended", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateSuspended })
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = false })
			test.drift(w)
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				set := &appsv1.StatefulSet{}
				err := w.tryGet("alice", set)
				if client.IgnoreNotFound(err) != nil {
					t.Fatal(err)
				}
				if err == nil && *set.Spec.Replicas != 0 {
					t.Fatal("a denied server was started again")
				}
			}
			w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
			w.label(map[string]string{forbidden: ""})
			w.released("alice")
		})
	}
}

// Rules may depend on labels, so a change of labels alone is evaluated.
func TestChangedLabelIsEvaluated(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Labels = map[string]string{"policy-test/bad": "yes"} })
	w.compliant("alice", metav1.ConditionFalse, "SuiteLabel")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Labels = nil })
	w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonCompliant)
}

func TestRejectedSpecCreatesNoSecret(t *testing.T) {
	w := newWorld(t)
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"token": "a-token"}}
	if err := suite.client.Create(w.ctx, token); err != nil {
		t.Fatal(err)
	}
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}
	w.create(server)
	w.released("alice")
	w.label(map[string]string{forbidden: "old"})
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.JupyterServer.Image = "old"
		s.Spec.Auth = w.oidcServer("alice").Spec.Auth
		s.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
	})
	w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
	if err := w.tryGet("alice-jupyter", &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("the server has a Secret that only the rejected spec needs: %v", err)
	}
}

func TestPolicyErrorChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	before := w.released("alice")

	w.label(map[string]string{"policy-test/broken": "a.b"})
	w.compliant("alice", metav1.ConditionUnknown, v1alpha1.ReasonPolicyError)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "other" })
	after := w.compliant("alice", metav1.ConditionUnknown, v1alpha1.ReasonPolicyError)
	if after.Status.Release.Revision != before.Status.Release.Revision {
		t.Errorf("the server was upgraded: %+v", after.Status)
	}
	w.create(w.server("bob"))
	w.stalled("bob", v1alpha1.ReasonPolicyError)
	w.nothingInstalled("bob", nil)

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })
	w.status("alice", "suspended", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateSuspended })
	w.label(map[string]string{"policy-test/broken": ""})
	w.released("alice")
	w.released("bob")
}

func TestAuditedVerdictsAreReportedAndNotEnforced(t *testing.T) {
	w := newWorld(t)
	w.label(map[string]string{"policy-test/audit": "yes"})
	w.create(w.server("alice"))
	w.released("alice")
	server := w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonCompliant)
	if c := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant); !strings.Contains(c.Message, "audit suite-audit") {
		t.Errorf("%q does not report the verdict", c.Message)
	}
}

func TestExemptionIsReported(t *testing.T) {
	w := newWorld(t)
	w.label(map[string]string{forbidden: "evil", "policy-test/exempt": "yes"})
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "evil"
	w.create(server)
	w.released("alice")
	server = w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonExempt)
	if c := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant); !strings.Contains(c.Message, "until March") {
		t.Errorf("%q does not report the reason", c.Message)
	}
}

// A change of the rules affects only servers whose verdicts change.
func TestChangedRulesAffectOnlyChangedVerdicts(t *testing.T) {
	w, other := newWorld(t), anotherWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "touched"
	w.create(server)
	w.released("alice")
	other.create(other.server("bob"))
	other.released("bob")
	w.quiet()
	before := len(other.quiet())

	suite.judge.Use(suiteEvaluator(t, strings.ReplaceAll(testRule, `input.namespace.labels["policy-test/forbidden"]`, `object.get(input.namespace.labels, "policy-test/forbidden", "touched")`)))
	suite.rulesChanged <- event.GenericEvent{Object: judge.NamespaceObject()}
	w.compliant("alice", metav1.ConditionFalse, "SuiteImage")
	for _, request := range other.quiet()[before:] {
		if !strings.HasPrefix(request, "GET ") {
			t.Errorf("a server with unchanged verdicts was written: %s", request)
		}
	}
	suite.judge.Use(suiteEvaluator(t, testRule))
	suite.rulesChanged <- event.GenericEvent{Object: judge.NamespaceObject()}
	w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonCompliant)
}

func suiteEvaluator(t *testing.T, rule string) *policies.Evaluator {
	t.Helper()
	evaluator, err := newSuiteEvaluator(t.Context(), rule)
	if err != nil {
		t.Fatal(err)
	}
	return evaluator
}

func TestRouteIsForOneServer(t *testing.T) {
	w, other := newWorld(t), anotherWorld(t)
	first := w.server("alice")
	w.create(first)
	w.released("alice")

	second := other.server("bob")
	second.Spec.Routing = first.Spec.Routing
	other.create(second)
	message := other.stalled("bob", "RouteTaken")
	if !strings.Contains(message, w.namespace+"/alice") {
		t.Errorf("%q does not name the other server", message)
	}
	other.nothingInstalled("bob", nil)
	// The first server can still be changed.
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "other" })
	w.released("alice")
	w.compliant("alice", metav1.ConditionTrue, v1alpha1.ReasonCompliant)
	// Once it has another route, the second server gets its old one.
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Routing.Path = "/elsewhere" })
	w.released("alice")
	other.released("bob")
	// Now the older server cannot have the route again.
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Routing.Path = "/alice" })
	w.stalled("alice", "RouteTaken")
	if err := suite.client.Delete(w.ctx, second); err != nil {
		t.Fatal(err)
	}
	w.released("alice")
}

// Servers that are created at once must not reject each other.
func TestOneOfTwoServersGetsTheRoute(t *testing.T) {
	w := newWorld(t)
	const many = 6
	for i := range many {
		server := w.server(fmt.Sprintf("s%d", i))
		server.Spec.Routing.Path = "/same"
		w.create(server)
	}
	w.eventually("one of them is released", func() error {
		var released, rejected int
		for i := range many {
			server := &v1alpha1.JupyterServer{}
			w.get(fmt.Sprintf("s%d", i), server)
			switch {
			case meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReleased):
				released++
			case meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant):
				rejected++
			}
		}
		if released != 1 || rejected != many-1 {
			return fmt.Errorf("%d are released and %d rejected", released, rejected)
		}
		return nil
	})
}

// A route that comes from a patch of the Ingress counts like any other.
func TestPatchedRouteIsEvaluated(t *testing.T) {
	w := newWorld(t)
	first := w.server("alice")
	first.Spec.Patches = []v1alpha1.Patch{{
		Target: v1alpha1.PatchTarget{Kind: "Ingress"}, Type: v1alpha1.PatchTypeJSON, Patch: `[{"op": "replace", "path": "/spec/rules/0/http/paths/0/path", "value": "/bob"}]`,
	}}
	w.create(first)
	w.released("alice")
	w.create(w.server("bob"))
	w.stalled("bob", "RouteTaken")
}

// The spec of a server that is being deleted is not evaluated, so it must not reserve a route.
func TestDeletedServerReservesNoRoute(t *testing.T) {
	w, other := newWorld(t), anotherWorld(t)
	first := w.server("alice")
	first.Finalizers = []string{"test.example.org/held"}
	w.create(first)
	w.released("alice")
	if err := suite.client.Delete(w.ctx, first); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unheld := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`))
		if err := suite.client.Patch(context.Background(), first, unheld); err != nil {
			t.Error(err)
		}
	})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Routing.Path = "/claimed" })
	w.status("alice", "observed", func(v1alpha1.JupyterServerStatus) bool { return true })

	second := other.server("bob")
	second.Spec.Routing = first.Spec.Routing
	second.Spec.Routing.Path = "/claimed"
	other.create(second)
	other.released("bob")
	// Its Ingress keeps its route until it is deleted.
	third := other.server("carol")
	third.Spec.Routing = first.Spec.Routing
	other.create(third)
	other.stalled("carol", "RouteTaken")
}

// The informers lag behind servers that are created at once: two of them must not get the same route.
func TestTwinsDoNotShareARoute(t *testing.T) {
	w, other := newWorld(t), anotherWorld(t)
	const pairs = 20
	var twins [2][]*v1alpha1.JupyterServer
	for i := range pairs {
		for side, world := range []*world{w, other} {
			twin := world.server(fmt.Sprintf("twin%d", i))
			twin.Spec.Routing.Host = w.namespace + ".localhost"
			twins[side] = append(twins[side], twin)
		}
	}
	w.createAtOnce(twins)
	for i := range pairs {
		w.oneReleased(fmt.Sprintf("/twin%d", i), twins[0][i], twins[1][i])
	}
}

func TestPatchedTwinsDoNotShareARoute(t *testing.T) {
	w := newWorld(t)
	patched, plain := w.server("twin1"), w.server("twin2")
	patched.Spec.Patches = []v1alpha1.Patch{{
		Target: v1alpha1.PatchTarget{Kind: "Ingress"}, Type: v1alpha1.PatchTypeJSON, Patch: `[{"op": "replace", "path": "/spec/rules/0/http/paths/0/path", "value": "/twin2"}]`,
	}}
	w.createAtOnce([2][]*v1alpha1.JupyterServer{{patched}, {plain}})
	w.oneReleased("/twin2", patched, plain)
}

// createAtOnce creates servers, two at a time.
func (w *world) createAtOnce(twins [2][]*v1alpha1.JupyterServer) {
	w.Helper()
	for i := range twins[0] {
		var creating sync.WaitGroup
		for side := range twins {
			o := w.manifest(twins[side][i])
			creating.Go(func() {
				if err := suite.client.Create(w.ctx, o); err != nil {
					w.Error(err)
				}
			})
		}
		creating.Wait()
	}
}

// oneReleased waits until one of several servers is released and the others are rejected, and fails if two Ingresses have the route.
func (w *world) oneReleased(path string, servers ...*v1alpha1.JupyterServer) {
	w.Helper()
	w.eventually("one of the servers at "+path+" is released", func() error {
		var released, rejected, reached int
		for _, server := range servers {
			found, ingress := &v1alpha1.JupyterServer{}, &networkingv1.Ingress{}
			if err := suite.client.Get(w.ctx, client.ObjectKeyFromObject(server), found); err != nil {
				return err
			}
			switch {
			case meta.IsStatusConditionTrue(found.Status.Conditions, v1alpha1.ConditionReleased):
				released++
			case meta.IsStatusConditionFalse(found.Status.Conditions, v1alpha1.ConditionPolicyCompliant):
				rejected++
			}
			err := suite.client.Get(w.ctx, client.ObjectKeyFromObject(server), ingress)
			if client.IgnoreNotFound(err) != nil {
				return err
			}
			if err == nil && ingress.Spec.Rules[0].HTTP.Paths[0].Path == path {
				reached++
			}
		}
		if reached > 1 {
			w.Fatalf("%d Ingresses have the route %s", reached, path)
		}
		if released != 1 || rejected != len(servers)-1 || reached != 1 {
			return fmt.Errorf("%d are released, %d rejected, %d reached", released, rejected, reached)
		}
		return nil
	})
}
