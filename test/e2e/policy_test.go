// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// bypassPatch is a patch that removes the authorization service from the route to Jupyter: its second middleware.
const bypassPatch = `patches: [{target: {kind: ConfigMap, name: alice-access}, type: merge, patch: "data: {routes.yaml: 'http: {routers: {all: {rule: PathPrefix(` + "`/`" + `), service: jupyter, middlewares: [authentication]}}}'}"}]`

func TestPoliciesDenyAtApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const oidc = `auth: {mode: oidc, oidc: {issuerUrl: "https://id.example.org", clientId: x, allow: {users: [u]}}}`
	tests := []struct {
		reason string
		spec   []string
		words  []string // parts of the error of kubectl
	}{
		{"mode none", []string{`auth: {mode: none}`}, []string{"spec.auth.mode", "would let in anyone", "auth-none", "Set spec.auth.mode to token or oidc"}},
		{"a token that can be guessed", []string{`auth: {token: {value: "12345678"}}`}, []string{"spec.auth.token.value", "token-length"}},
		{"a patch that removes the authorization service from the route", []string{oidc, bypassPatch}, []string{"oidc-intact"}},
		{"a patch that makes the Service target Jupyter", []string{oidc, `patches: [{target: {kind: Service}, type: json, patch: '[{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 8888}]'}]`}, []string{"oidc-intact"}},
		{"a patch that removes the sidecars", []string{oidc, `patches: [{target: {kind: StatefulSet}, type: json, patch: '[{"op": "remove", "path": "/spec/template/spec/initContainers"}]'}]`}, []string{"oidc-intact"}},
		{"a host path", []string{`patches: [{target: {kind: StatefulSet}, patch: "spec: {template: {spec: {volumes: [{name: node, hostPath: {path: /}}]}}}"}]`}, []string{"hostPath", "pod-security"}},
		{"a patch that matches nothing", []string{`patches: [{target: {kind: Job}, type: merge, patch: "{}"}]`}, []string{"spec.patches[0]"}},
	}
	for _, test := range tests {
		err := w.tryApply(w.manifest("alice", test.spec...))
		if err == nil {
			t.Errorf("%s: was accepted", test.reason)
			w.kubectl("delete", "jupyterserver", "alice")
			continue
		}
		for _, word := range test.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error lacks %q: %v", test.reason, word, err)
			}
		}
		t.Logf("%s: %v", test.reason, err)
	}
	if leftovers := w.kubectl("get", "jupyterservers,statefulsets,secrets", "-o", "name"); leftovers != "" {
		t.Errorf("objects were created: %s", leftovers)
	}
}

func TestRouteConflictIsDeniedAtApply(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	w.apply("alice", `suspend: true`)
	w.await("alice", "is suspended", soon, isSuspended)
	err := other.tryApply(other.manifest("bob", fmt.Sprintf("routing: {host: %s, path: /alice}", w.host())))
	if err == nil || !strings.Contains(err.Error(), "route-taken") || !strings.Contains(err.Error(), w.namespace+"/alice") {
		t.Errorf("got %v, want a route conflict", err)
	}
}

func isSuspended(s *v1alpha1.JupyterServer) error {
	if s.Status.State != v1alpha1.StateSuspended {
		return fmt.Errorf("state %s", s.Status.State)
	}
	return nil
}

// A custom rule in a ConfigMap in the operator's namespace takes effect within two seconds: at apply and for running servers. It is
// not parallel, because the limit is for an idle node.
func TestRuleInAConfigMap(t *testing.T) {
	w := newWorld(t)
	w.server("alice")
	rule := w.rule("team", fmt.Sprintf(`verdicts contains {"id": "e2e-team", "message": "the label team is missing", "path": "metadata.labels", "remediation": "Add it."} if {
	input.namespace.name == %q
	not input.object.metadata.labels.team
}`, w.namespace))

	w.applyRule(rule)
	within(t, "kubectl apply is denied", 2*time.Second, func() error {
		_, err := w.tryRun(w.ctx, w.manifest("bob"), "kubectl", "apply", "--dry-run=server", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), "the label team is missing") || !strings.Contains(err.Error(), "e2e-team") {
			return fmt.Errorf("accepted, or denied for another reason: %w", err)
		}
		return nil
	})
	w.await("alice", "is marked", soon, func(s *v1alpha1.JupyterServer) error {
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionPolicyCompliant)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "E2eTeam" {
			return fmt.Errorf("got the condition %+v", c)
		}
		return nil
	})
	if uid := w.kubectl("get", "pod", "alice-0", "-o", "jsonpath={.metadata.uid}"); uid == "" {
		t.Error("the server is no longer running")
	}
	// It can be suspended and made compliant. After that, it may not violate the rule again.
	w.kubectl("patch", "jupyterserver", "alice", "--type=merge", "-p", `{"spec": {"suspend": true}}`)
	w.await("alice", "is suspended", time.Minute, isSuspended)
	w.kubectl("patch", "jupyterserver", "alice", "--type=merge", "-p", `{"metadata": {"labels": {"team": "a"}}, "spec": {"suspend": false}}`)
	w.running("alice")
	if _, err := w.tryRun(w.ctx, "", "kubectl", "label", "jupyterserver", "alice", "team-"); err == nil || !strings.Contains(err.Error(), "e2e-team") {
		t.Errorf("got %v, want a denial of removing the label", err)
	}

	w.kubectl("-n", operatorNamespace, "delete", "configmap", w.namespace+"-team")
	within(t, "the rule is removed", 2*time.Second, func() error {
		_, err := w.tryRun(w.ctx, "", "kubectl", "label", "jupyterserver", "alice", "team-")
		return err
	})
	w.running("alice")
}

// An invalid rule is reported on its ConfigMap with file and line, and the others stay in force.
func TestInvalidRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.applyRule(w.rule("broken", "verdicts contains {\"id\": \"x\", \"message\": inptu.object, \"path\": \"p\"}"))
	w.eventually("the event on the ConfigMap", soon, func() error {
		text := w.kubectl("-n", operatorNamespace, "get", "events", "--field-selector=involvedObject.name="+w.namespace+"-broken", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{end}")
		for _, word := range []string{"RulesRefused", "rules.rego:3", "inptu"} {
			if !strings.Contains(text, word) {
				return fmt.Errorf("%q lacks %q", text, word)
			}
		}
		return nil
	})
	w.apply("alice", `suspend: true`)
	w.await("alice", "is suspended", soon, isSuspended)
	if err := w.tryApply(w.manifest("bob", `auth: {mode: none}`)); err == nil || !strings.Contains(err.Error(), "auth-none") {
		t.Errorf("got %v, want a denial by the other rules", err)
	}
}

// rule returns a ConfigMap with a custom rule, which is deleted after the test.
func (w *world) rule(name, text string) string {
	w.Helper()
	full := w.namespace + "-" + name
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if _, err := w.tryRun(ctx, "", "kubectl", "-n", operatorNamespace, "delete", "configmap", full, "--ignore-not-found"); err != nil {
			w.Error(err)
		}
	})
	module := fmt.Sprintf("package jupyterserver.custom.%s\n\n%s\n", strings.NewReplacer("-", "_").Replace(full), text)
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s, labels: {jupyterserver.dev/policies: \"true\"}}\ndata:\n  rules.rego: %q\n", full, operatorNamespace, module)
}

// applyRule applies a manifest in the operator's namespace.
func (w *world) applyRule(manifest string) {
	w.Helper()
	if _, err := w.tryRun(w.ctx, manifest, "kubectl", "-n", operatorNamespace, "apply", "-f", "-"); err != nil {
		w.Fatal(err)
	}
}

// within checks that a condition is met within a documented time.
func within(t *testing.T, what string, limit time.Duration, try func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := try()
		took := time.Since(began)
		if err == nil {
			t.Logf("%s: after %s", what, took.Round(time.Millisecond))
			if took > limit {
				t.Errorf("%s: took %s, want at most %s", what, took, limit)
			}
			return
		}
		if took > 10*limit {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
