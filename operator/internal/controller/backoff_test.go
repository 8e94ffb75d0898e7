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
	// window is how long writes are counted. Without backoff there are hundreds of them, even on a slow machine; with backoff there
	// is one per second.
	window     = 5 * time.Second
	maxReverts = 10
)

func TestConflictOverAField(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	stop := w.rival(func(ctx context.Context, service *corev1.Service) error {
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
	w.backsOff("PATCH /api/v1/services/alice")

	ingress := &networkingv1.Ingress{}
	w.get("alice", ingress)
	w.remove("alice", ingress)
	w.eventually("an object without a conflict is restored at once", func() error { return w.tryGet("alice", &networkingv1.Ingress{}) })

	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Patches = []v1alpha1.Patch{{
			Target: v1alpha1.PatchTarget{Kind: "Service"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"metadata":{"annotations":{"example.org/new":"yes"}}}`,
		}}
	})
	w.eventually("a change of the spec is applied", func() error {
		service := &corev1.Service{}
		w.get("alice", service)
		return expect(service.Annotations["example.org/new"], "yes")
	})
	w.contested("alice")
	stop()
	w.settled("alice")
	service := &corev1.Service{}
	w.get("alice", service)
	if service.Labels[contestedLabel] != "alice" {
		t.Errorf("the label is %q", service.Labels[contestedLabel])
	}
	if events := w.eventsOf("Contested"); events == 0 || events > 2 {
		t.Errorf("%d events of two conflicts", events)
	}
}

func TestConflictOverAnObject(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	stop := w.rival(func(ctx context.Context, service *corev1.Service) error {
		time.Sleep(300 * time.Millisecond) // an object that is deleted before the operator has observed it does not count as reverted
		return suite.client.Delete(ctx, service)
	})
	message := w.contested("alice")
	if !strings.Contains(message, "Service alice is deleted") {
		t.Errorf("the message is %q", message)
	}
	w.backsOff("PATCH /api/v1/services/alice")
	stop()
	w.settled("alice")
	w.get("alice", &corev1.Service{})
}

// Changes that admission makes to the operator's own requests are no drift.
func TestMutatingAdmissionIsNoConflict(t *testing.T) {
	w := newWorld(t)
	w.admit(fmt.Sprintf(`Object{metadata: Object.metadata{labels: {%q: "policy"}}}`, contestedLabel))
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true }) // a server that is starting is reconciled periodically
	w.released("alice")
	before := len(w.quiet())
	w.annotate("alice", &corev1.Service{}, "example.org/wake")
	after := w.quiet()
	service := &corev1.Service{}
	w.get("alice", service)
	if service.Labels[contestedLabel] != "policy" {
		t.Errorf("the label is %q, so admission did not change it", service.Labels[contestedLabel])
	}
	if len(after) > before {
		t.Errorf("unnecessary requests: %v", after[before:])
	}
}

// If admission replaces the digest of an applied object, the object looks as if it had never been applied. The operator must not
// apply it forever.
func TestAdmissionThatReplacesTheDigestIsNoConflict(t *testing.T) {
	w := newWorld(t)
	w.admit(`Object{metadata: Object.metadata{annotations: {"jupyterserver.dev/applied": "policy"}}}`)
	server := w.server("alice")
	server.Spec.Suspend = true // a server that is starting is reconciled periodically
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
	if applied > maxReverts {
		t.Errorf("the Service was applied %d times", applied)
	}
}

// rival attacks the Service again and again until stop is called.
func (w *world) rival(attack func(context.Context, *corev1.Service) error) (stop func()) {
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
			w.Errorf("the rival: %v", err)
		}
	}
	w.Cleanup(cancel)
	return stop
}

// contested waits until a server reports a conflict, and returns its message.
func (w *world) contested(name string) string {
	w.Helper()
	server := w.status(name, "contested", func(s v1alpha1.JupyterServerStatus) bool {
		released := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReleased)
		return released != nil && released.Reason == v1alpha1.ReasonContested
	})
	if meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionStalled) || !meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReconciling) {
		w.Errorf("the operator retries, so it has to be reconciling and not stalled: %+v", server.Status.Conditions)
	}
	return server.Status.Message
}

// contestedSince returns when a server began to report a conflict.
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

// settled waits until a server is released and reports no conflict.
func (w *world) settled(name string) {
	w.Helper()
	if server := w.released(name); strings.Contains(server.Status.Message, "again and again") {
		w.Errorf("the message is %q", server.Status.Message)
	}
}

// backsOff fails if the operator makes the request, or any requests, too often within the window.
func (w *world) backsOff(request string) {
	w.Helper()
	before, since := len(suite.requests.of(w.namespace)), w.contestedSince("alice")
	time.Sleep(window)
	requests, reverts := suite.requests.of(w.namespace)[before:], 0
	if now := w.contestedSince("alice"); !now.Equal(&since) {
		w.Errorf("the condition flaps: contested since %s, then since %s", since, now)
	}
	for _, r := range requests {
		if r == request {
			reverts++
		}
	}
	if reverts > maxReverts || len(requests) > 6*maxReverts {
		w.Errorf("%d reverts in %s, and %d requests in total", reverts, window, len(requests))
	}
}

// eventsOf returns the number of events with a reason. A series counts as one.
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

// admit makes the API server mutate every Service of the namespace until the end of the test.
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
			w.Fatalf("creating an admission policy: %v", err)
		}
		w.Cleanup(func() { _ = suite.client.Delete(context.Background(), o) })
	}
	w.eventually("the admission policy is in force", func() error {
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
