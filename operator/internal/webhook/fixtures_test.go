// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
)

// TestFixturesOfThePolicies applies the server of every fixture of the rules.
func TestFixturesOfThePolicies(t *testing.T) {
	w := newWorld(t, "")
	w.useFixtures()
	reader := informers(t)
	found := judge.Cluster{Informed: reader, Live: suite.client}
	w.serving(func(o *webhook.Options, _ *ctrl.Options) {
		o.Handler.Cluster = webhook.Lookup{Namespace: found.Namespace, Routes: found.Routes}
	})
	w.selectNamespaces("jupyterserver.dev/fixture")
	for _, fixture := range policiestest.Fixtures(t) {
		if len(fixture.More) > 0 {
			continue // the chart renders no such objects
		}
		t.Run(fixture.Rule+"/"+fixture.Name, func(t *testing.T) {
			w := &world{TB: t}
			w.client = w.user()
			w.ensureNamespace(fixture.Namespace(), fixture.Labels(), reader)
			for _, route := range fixture.Others() {
				w.ensureNamespace(route.Namespace, nil, reader)
				other := manifest(t, policiestest.ManifestAt(route))
				if err := suite.client.Create(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				defer w.delete(other, reader)
				w.eventually("the informer has the other server", func() error {
					return reader.Get(t.Context(), client.ObjectKeyFromObject(other), &v1alpha1.JupyterServer{})
				})
			}
			deny, warn := w.verdicts(manifest(t, fixture.Manifest))
			fixture.CheckRules(t, deny, warn)
		})
	}
}

var (
	deniedByRule = regexp.MustCompile(`\(rule ([a-z-]+)\)`)
	warnedByRule = regexp.MustCompile(`^rule ([a-z-]+): `)
)

// verdicts applies a server with a dry run, and returns the rules in the error and in the warnings.
func (w *world) verdicts(o *unstructured.Unstructured) (deny, warn []string) {
	w.Helper()
	err := w.client.Create(w.Context(), o, client.DryRunAll)
	if err != nil && !apierrors.IsForbidden(err) {
		w.Fatalf("%s was not evaluated: %v", o.GetName(), err)
	}
	if err != nil {
		for _, found := range deniedByRule.FindAllStringSubmatch(err.Error(), -1) {
			deny = append(deny, found[1])
		}
	}
	for _, warning := range w.warned() {
		if found := warnedByRule.FindStringSubmatch(warning); found != nil {
			warn = append(warn, found[1])
		}
	}
	slices.Sort(deny)
	slices.Sort(warn)
	return slices.Compact(deny), slices.Compact(warn)
}

func (w *world) useFixtures() {
	w.Helper()
	cfg, err := policiestest.Config()
	if err != nil {
		w.Fatal(err)
	}
	evaluator, err := policies.New(w.Context(), policies.Options{Config: cfg})
	if err != nil {
		w.Fatal(err)
	}
	w.judge.Use(evaluator)
}

// selectNamespaces makes the webhook apply to the namespaces with a label, instead of the one of the test.
func (w *world) selectNamespaces(label string) {
	w.Helper()
	w.eventually("the configuration is changed", func() error {
		configuration := w.configuration()
		if err := suite.client.Get(w.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
			return err
		}
		configuration.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: label, Operator: metav1.LabelSelectorOpExists}}}
		return suite.client.Update(w.Context(), configuration)
	})
}

// informers returns a reader like the one with which the operator evaluates the policies.
func informers(t *testing.T) client.Reader {
	t.Helper()
	c, err := cluster.New(suite.config, func(o *cluster.Options) { o.Scheme = suite.client.Scheme() })
	if err != nil {
		t.Fatal(err)
	}
	if err := judge.Index(t.Context(), c.GetFieldIndexer()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the informers ended with: %v", err)
		}
	})
	return c.GetClient()
}

func (w *world) ensureNamespace(name string, labels map[string]string, seenBy client.Reader) {
	w.Helper()
	apiservertest.EnsureNamespace(w.TB, suite.client, name, labels)
	w.eventually("the informer has the namespace", func() error {
		return seenBy.Get(w.Context(), client.ObjectKey{Name: name}, judge.NamespaceObject())
	})
}

// delete deletes a server, which would conflict with the next fixtures.
func (w *world) delete(o client.Object, seenBy client.Reader) {
	w.Helper()
	if err := suite.client.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
	w.eventually("the informer no longer has the server", func() error {
		err := seenBy.Get(w.Context(), client.ObjectKeyFromObject(o), &v1alpha1.JupyterServer{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it still has it: %w", err)
		}
		return nil
	})
}

func manifest(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}
