// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A server whose pod cannot start recovers when its spec is corrected, whether it was broken at creation or by an update. With
// OrderedReady, Kubernetes never replaces the broken pod (kubernetes/kubernetes#67250), so that servers with "ordered" in their name
// only recover with the operator's help; those with the chart's Parallel recover anyway (for updates, see
// TestEditedImageIsRolledOutAndBack). A patch may not change podManagementPolicy (rule rendered-kinds), but a cluster may.
func TestStuckServersRecover(t *testing.T) {
	t.Parallel()
	breaks := map[string]string{
		"image":  `jupyterServer: {image: "localhost/nope:1"}`,
		"secret": `jupyterServer: {env: [{name: KEY, valueFrom: {secretKeyRef: {name: nope, key: nope}}}]}`,
		"room":   `jupyterServer: {resources: {requests: {cpu: "1000"}}}`,
		"crash":  `jupyterServer: {extraArgs: [--ServerApp.max_body_size=lots]}`,
	}
	// These servers are not used, so the echo image replaces Jupyter if it is available.
	lean := fmt.Sprintf("{jupyterServer: {image: %q}, storage: {ephemeral: true}}", cmp.Or(os.Getenv("E2E_ECHO_IMAGE"), suite.image))
	w := newWorld(t)
	w.orderStatefulSets()
	var first, later []string
	broken, sound := map[string]string{}, map[string]string{}
	for what, spec := range breaks {
		ofFirst, ofLater := []string{"first-parallel-" + what, "first-ordered-" + what}, []string{"later-ordered-" + what}
		first, later = append(first, ofFirst...), append(later, ofLater...)
		for _, name := range append(ofFirst, ofLater...) {
			broken[name], sound[name] = w.manifest(name, lean, spec), w.manifest(name, lean)
		}
	}
	w.applyAll(append(pick(broken, first), pick(sound, later)...))
	w.eachFailed(first)
	w.eachRunning(later)
	w.applyAll(append(pick(sound, first), pick(broken, later)...))
	w.eachFailed(later)
	w.applyAll(pick(sound, later))
	w.eachRunning(append(first, later...))
}

// pick returns the manifests of some servers.
func pick(manifests map[string]string, names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, manifests[name])
	}
	return out
}

func (w *world) applyAll(manifests []string) {
	w.Helper()
	if err := w.tryApply(strings.Join(manifests, "---\n")); err != nil {
		w.Fatal(err)
	}
}

func (w *world) eachFailed(names []string) {
	w.Helper()
	for _, name := range names {
		w.failed(name)
	}
}

func (w *world) eachRunning(names []string) {
	w.Helper()
	for _, name := range names {
		w.running(name)
	}
}

// orderStatefulSets makes admission set OrderedReady on StatefulSets with "ordered" in their name, until the end of the test.
func (w *world) orderStatefulSets() {
	w.Helper()
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			MatchConstraints: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"statefulsets"}},
				}}},
			},
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "ordered", Expression: "object.metadata.name.contains('ordered')"}},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
					Expression: "Object{spec: Object.spec{podManagementPolicy: 'OrderedReady'}}",
				},
			}},
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
	w.eventually("the admission policy takes effect", soon, func() error {
		labels := map[string]string{"probe": "ordered"}
		probe := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "ordered-probe"}, Spec: appsv1.StatefulSetSpec{
			PodManagementPolicy: appsv1.ParallelPodManagement, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
			},
		}}
		if err := suite.client.Create(w.ctx, probe, client.DryRunAll); err != nil {
			return err
		}
		if got := probe.Spec.PodManagementPolicy; got != appsv1.OrderedReadyPodManagement {
			return fmt.Errorf("podManagementPolicy is %s", got)
		}
		return nil
	})
}
