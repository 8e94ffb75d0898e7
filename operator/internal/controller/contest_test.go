// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const (
	contestedLabel = "app.kubernetes.io/instance"
	// window is how long writes are counted. Without backing off there are some hundreds in it, on a slow machine as well, with it
	// one for each second.
	window    = 5 * time.Second
	mostFixes = 10
)

func TestFightOverAField(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	stop := w.fight(func(ctx context.Context, service *corev1.Service) error {
		if service.Labels[contestedLabel] == "rival" {
			return nil
		}
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:"rival"}}}`, contestedLabel))
		return suite.client.Patch(ctx, service, patch, client.FieldOwner("rival"))
	})
	message := w.contested("alice")
	for _, word := range []string{"Service alice", "metadata.labels." + contestedLabel, "set by rival", "spec.patches"} {
		if !strings.Contains(message, word) {
			t.Errorf("the message %q lacks %q", message, word)
		}
	}
	w.fixesFew("PATCH /api/v1/services/alice")

	ingress := &networkingv1.Ingress{}
	w.get("alice", ingress)
	w.remove("alice", ingress)
	w.eventually("what nobody fights over is put back", func() error { return w.tryGet("alice", &networkingv1.Ingress{}) })

	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Patches = []v1alpha1.Patch{{
			Target: v1alpha1.PatchTarget{Kind: "Service"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"metadata":{"annotations":{"example.org/new":"yes"}}}`,
		}}
	})
	w.eventually("the spec is followed", func() error {
		service := &corev1.Service{}
		w.get("alice", service)
		return expect(service.Annotations["example.org/new"], "yes")
	})
	w.contested("alice")
	stop()
	w.peace("alice")
	service := &corev1.Service{}
	w.get("alice", service)
	if service.Labels[contestedLabel] != "alice" {
		t.Errorf("the label is %q", service.Labels[contestedLabel])
	}
	if events := w.eventsOf("Contested"); events == 0 || events > 2 {
		t.Errorf("%d events of two fights", events)
	}
}

func TestFightOverAnObject(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	stop := w.fight(func(ctx context.Context, service *corev1.Service) error {
		time.Sleep(300 * time.Millisecond) // what goes before the operator saw it counts as not seen yet, and is waited for anyway
		return suite.client.Delete(ctx, service)
	})
	message := w.contested("alice")
	if !strings.Contains(message, "Service alice is deleted") {
		t.Errorf("the message is %q", message)
	}
	w.fixesFew("PATCH /api/v1/services/alice")
	stop()
	w.peace("alice")
	w.get("alice", &corev1.Service{})
}

// What admission makes of our own request counts as ours, so there is nothing to put back.
func TestAdmissionThatChangesAFieldIsNoFight(t *testing.T) {
	w := newWorld(t)
	w.admit(fmt.Sprintf(`Object{metadata: Object.metadata{labels: {%q: "policy"}}}`, contestedLabel))
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true }) // a server that starts is looked at again
	w.released("alice")
	before := len(w.quiet())
	w.annotate("alice", &corev1.Service{}, "example.org/wake")
	after := w.quiet()
	service := &corev1.Service{}
	w.get("alice", service)
	if service.Labels[contestedLabel] != "policy" {
		t.Errorf("the label is %q: the test shows nothing", service.Labels[contestedLabel])
	}
	if len(after) > before {
		t.Errorf("requests for nothing: %v", after[before:])
	}
}

// Admission that replaces the digest of what was applied makes an apply look as if it had never been. That is no reason to go on
// applying.
func TestAdmissionThatReplacesOurDigestIsNotFought(t *testing.T) {
	w := newWorld(t)
	w.admit(`Object{metadata: Object.metadata{annotations: {"jupyterserver.dev/applied": "policy"}}}`)
	server := w.server("alice")
	server.Spec.Suspend = true // a server that starts is looked at again
	w.create(server)
	w.released("alice")
	for i := range 4 {
		w.annotate("alice", &corev1.Service{}, fmt.Sprintf("example.org/wake-%d", i))
		time.Sleep(100 * time.Millisecond)
	}
	applied := 0
	for _, request := range w.quiet() {
		if strings.HasPrefix(request, "PATCH /api/v1/services/") {
			applied++
		}
	}
	if applied > mostFixes {
		t.Errorf("the Service was applied %d times", applied)
	}
}

// fight has somebody do something to the Service as often as it changes, until stop returns.
func (w *world) fight(attack func(context.Context, *corev1.Service) error) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			service := &corev1.Service{}
			err := suite.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "alice"}, service)
			if err == nil {
				err = attack(ctx, service)
			}
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
				done <- err
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the fighter: %v", err)
		}
	}
	w.Cleanup(cancel)
	return stop
}

// contested waits until a server says that it is fought over, and returns its message.
func (w *world) contested(name string) string {
	w.Helper()
	server := w.status(name, "contested", func(s v1alpha1.JupyterServerStatus) bool {
		released := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReleased)
		return released != nil && released.Reason == v1alpha1.ReasonContested
	})
	if meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionStalled) || !meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReconciling) {
		w.Errorf("the operator goes on trying, and says %+v", server.Status.Conditions)
	}
	return server.Status.Message
}

func (w *world) contestedSince(name string) metav1.Time {
	w.Helper()
	server := &v1alpha1.JupyterServer{}
	w.get(name, server)
	released := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReleased)
	if released == nil || released.Reason != v1alpha1.ReasonContested {
		w.Fatalf("not contested: %+v", released)
	}
	return released.LastTransitionTime
}

// peace waits until a server is released, and says nothing of a fight.
func (w *world) peace(name string) {
	w.Helper()
	if server := w.released(name); strings.Contains(server.Status.Message, "again and again") {
		w.Errorf("the message is %q", server.Status.Message)
	}
}

// fixesFew counts the requests of a kind for a while, and all the others.
func (w *world) fixesFew(request string) {
	w.Helper()
	before, since := len(suite.requests.of(w.namespace)), w.contestedSince("alice")
	time.Sleep(window)
	requests, fixes := suite.requests.of(w.namespace)[before:], 0
	if now := w.contestedSince("alice"); !now.Equal(&since) {
		w.Errorf("the condition flaps: contested since %s, then since %s", since, now)
	}
	for _, r := range requests {
		if r == request {
			fixes++
		}
	}
	if fixes > mostFixes || len(requests) > 6*mostFixes {
		w.Errorf("%d fixes in %s, and %d requests in all", fixes, window, len(requests))
	}
}

// eventsOf is how many events with a reason there are, one for each series.
func (w *world) eventsOf(reason string) int {
	w.Helper()
	events, count := &corev1.EventList{}, 0
	if err := suite.client.List(w.ctx, events, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	for _, event := range events.Items {
		if event.Reason == reason {
			count++
		}
	}
	return count
}

// admit has the API server change every Service of the namespace, until the end of the test.
func (w *world) admit(expression string) {
	w.Helper()
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			MatchConstraints: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"services"}},
				}}},
			},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType:          admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: expression},
			}},
			FailurePolicy: ptr.To(admissionregistrationv1.Fail),
		},
	}
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: w.namespace},
	}
	for _, o := range []client.Object{policy, binding} {
		if err := suite.client.Create(w.ctx, o); err != nil {
			w.Fatalf("creating a policy of admission: %v", err)
		}
		w.Cleanup(func() { _ = suite.client.Delete(context.Background(), o) })
	}
	w.eventually("the policy holds", func() error {
		probe := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "probe"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}
		if err := suite.client.Create(w.ctx, probe, client.DryRunAll); err != nil {
			return err
		}
		if len(probe.Labels)+len(probe.Annotations) == 0 {
			return errors.New("nothing was changed")
		}
		return nil
	})
}
