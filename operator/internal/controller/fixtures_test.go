// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
)

// TestFixturesOfThePolicies creates the server of every fixture of the rules without a webhook, so that the operator evaluates it.
func TestFixturesOfThePolicies(t *testing.T) {
	t.Parallel()
	for _, fixture := range policiestest.Fixtures(t) {
		if len(fixture.More) > 0 {
			continue // the chart renders no such objects
		}
		t.Run(fixture.Rule+"/"+fixture.Name, func(t *testing.T) {
			w := &world{T: t, ctx: t.Context(), namespace: fixture.Namespace()}
			apiservertest.EnsureNamespace(t, suite.client, w.namespace, fixture.Labels())
			for _, route := range fixture.Others() {
				apiservertest.EnsureNamespace(t, suite.client, route.Namespace, nil)
				w.apply(policiestest.ManifestAt(route))
				other := &world{T: t, ctx: t.Context(), namespace: route.Namespace}
				other.status(route.Name, "observed", func(v1alpha1.JupyterServerStatus) bool { return true })
			}
			server := w.apply(fixture.Manifest)
			var condition *metav1.Condition
			w.status(server.GetName(), "evaluated", func(s v1alpha1.JupyterServerStatus) bool {
				condition = meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPolicyCompliant)
				return condition != nil && condition.Status != metav1.ConditionUnknown
			})
			if condition.Status == metav1.ConditionFalse {
				if deny := deniedBy(condition.Message); !slices.Equal(deny, fixture.Deny) {
					t.Errorf("denied by %v, want %v, because %s: %s", deny, fixture.Deny, fixture.Reason, condition.Message)
				}
				w.nothingInstalled(server.GetName(), nil)
				return
			}
			fixture.CheckRules(t, nil, warnedBy(condition.Message))
		})
	}
}

// deniedBy returns the rules in the message of a rejected server.
func deniedBy(message string) []string {
	rules := regexp.MustCompile(`, rule ([a-z-]+)\)`).FindStringSubmatch(message)[1:]
	if _, others, more := strings.Cut(message, "Also denied by: "); more {
		others, _, _ = strings.Cut(others, ".")
		rules = append(rules, strings.Split(others, ", ")...)
	}
	slices.Sort(rules)
	return rules
}

// warnedBy returns the rules in the warnings of a message.
func warnedBy(message string) []string {
	var rules []string
	for _, found := range regexp.MustCompile(`(?:^|; )warn ([a-z-]+): `).FindAllStringSubmatch(message, -1) {
		rules = append(rules, found[1])
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

// apply creates a server from a manifest and deletes it at the end of the test.
func (w *world) apply(manifest string) *unstructured.Unstructured {
	w.Helper()
	server := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &server.Object); err != nil {
		w.Fatal(err)
	}
	if err := suite.client.Create(w.ctx, server); err != nil {
		w.Fatalf("creating %s: %v", server.GetName(), err)
	}
	w.Cleanup(func() {
		if err := suite.client.Delete(context.Background(), server); client.IgnoreNotFound(err) != nil {
			w.Errorf("deleting %s: %v", server.GetName(), err)
		}
	})
	return server
}
