// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// unreadable is a spec with a quantity that the schema accepts but that cannot be decoded.
const unreadable = `pod: {containers: [{name: a, image: b, resources: {requests: {cpu: "1e1.5"}}}]}`

const denied = `admission webhook "policies.jupyterserver.dev" denied the request: `

func TestMessagesToUsers(t *testing.T) {
	w := newWorld(t, "")
	w.serving()
	w.judge.Use(rules(t, `{image-registries: {allowed: [docker.io]}, names: {pattern: "[a-z]+"}, route-overlap: {severity: audit}}`))
	tests := []struct {
		reason   string
		spec     string
		code     int32
		want     []string // in the error, empty if the request is allowed
		warnings []string // a part of each
	}{
		{reason: "no violations", spec: "jupyterServer: {image: docker.io/jupyter/base-notebook:x}"},
		{
			reason: "one denial is one sentence with its remediation", spec: "", code: http.StatusForbidden,
			want: []string{denied + "spec.jupyterServer.image: image quay.io/jupyter/minimal-notebook", " (rule image-registries). Use an image from an allowed registry, or ask"},
		},
		{
			reason: "several denials are a list", spec: "auth: {mode: none}", code: http.StatusForbidden,
			want: []string{denied + "2 policy violations:\n- spec.auth.mode: ", " (rule auth-none). ", "\n- spec.jupyterServer.image: ", " (rule image-registries). "},
		},
		{
			reason: "a warning is shown, but denies nothing", spec: "jupyterServer: {image: docker.io/jupyter/base-notebook:x}, auth: {token: {value: a-token-of-some-length}}",
			warnings: []string{"rule inline-secrets: spec.auth.token.value: "},
		},
		{
			reason: "warnings are shown together with a denial", spec: "auth: {token: {value: a-token-of-some-length}}", code: http.StatusForbidden,
			want: []string{"(rule image-registries)"}, warnings: []string{"rule inline-secrets: spec.auth.token.value: "},
		},
		{
			reason: "a spec that does not render", code: http.StatusUnprocessableEntity,
			spec: `patches: [{target: {kind: Deployment}, type: merge, patch: "{a: b}"}]`,
			want: []string{denied + "the spec cannot be rendered: spec.patches[0] for Deployment: no such object"},
		},
		{
			reason: "a spec that cannot be decoded", code: http.StatusUnprocessableEntity,
			spec: unreadable,
			want: []string{denied + "the spec contains a value that Kubernetes does not accept: "},
		},
	}
	for _, test := range tests {
		o := server("alice", test.spec)
		err := w.apply(o, client.DryRunAll)
		w.wants(test.reason, err, test.want...)
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Code != test.code {
			t.Errorf("%s: the code is %d", test.reason, status.Status().Code)
		}
		warnings := w.warned()
		if !slices.EqualFunc(warnings, test.warnings, strings.Contains) {
			t.Errorf("%s: the warnings are %q", test.reason, warnings)
		}
		t.Logf("%s:\n  %v\n  %q", test.reason, err, warnings)
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	w := newWorld(t, "")
	w.serving()
	w.wants("a dry run passes", w.apply(server("alice", ""), client.DryRunAll))
	o := server("alice", "")
	if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: "alice"}, o); !apierrors.IsNotFound(err) {
		t.Errorf("reading the server after a dry run results in %v", err)
	}
}

func TestGeneratedNameIsEvaluated(t *testing.T) {
	w := newWorld(t, "")
	w.serving()
	w.judge.Use(rules(t, `{names: {pattern: "alice-[a-z0-9]{5}"}}`))
	for _, test := range []struct {
		reason, prefix string
		want           []string
	}{
		{reason: "the generated name is allowed", prefix: "alice-"},
		{reason: "the generated name is not allowed", prefix: "bob-", want: []string{"bob-", "(rule names)"}},
	} {
		o := server("x", "")
		o.SetName("")
		o.SetGenerateName(test.prefix)
		w.wants(test.reason, w.apply(o), test.want...)
	}
}

func TestUpdateWithoutNewViolationsIsAllowed(t *testing.T) {
	w := newWorld(t, "")
	w.serving()
	w.mustApply(server("alice", "jupyterServer: {image: quay.io/jupyter/base-notebook:x}"))
	w.judge.Use(rules(t, `{image-registries: {allowed: [docker.io]}}`))
	w.wants("an update to another denied image", w.mergeSpec("alice", "jupyterServer: {image: quay.io/jupyter/base-notebook:y}"), "(rule image-registries)")
	w.warned()
	w.wants("another field", w.mergeSpec("alice", "routing: {path: /other}"))
	if warnings := w.warned(); len(warnings) != 1 || !strings.Contains(warnings[0], "existed before") {
		t.Errorf("the warnings are %q", warnings)
	}
	w.wants("suspending", w.mergeSpec("alice", "suspend: true"))
	w.wants("a label", w.merge("alice", map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}}))
	w.wants("an allowed image", w.mergeSpec("alice", "jupyterServer: {image: docker.io/jupyter/base-notebook:x}"))
}

func TestPolicyError(t *testing.T) {
	w := newWorld(t, "")
	w.serving()
	w.mustApply(server("alice", ""))
	w.judge.UseNone(errors.New("custom rules do not compile"))
	err := w.apply(server("bob", ""))
	w.wants("a new server", err, denied+"PolicyError: ", "nothing was changed", "contact your administrator", "try again", "custom rules do not compile.")
	if apierrors.ReasonForError(err) != policies.ReasonPolicyError {
		t.Errorf("the reason is %s", apierrors.ReasonForError(err))
	}
	w.wants("a change", w.mergeSpec("alice", "routing: {path: /other}"), "PolicyError: ")
	w.wants("a change that suspends and more", w.mergeSpec("alice", "{suspend: true, routing: {path: /other}}"), "PolicyError: ")
	w.warned()
	w.wants("a change that only suspends", w.mergeSpec("alice", "suspend: true"))
	if warnings := w.warned(); len(warnings) != 1 || !strings.HasPrefix(warnings[0], "PolicyError: ") || !strings.Contains(warnings[0], "only suspends") {
		t.Errorf("the warnings are %q", warnings)
	}
	w.wants("resuming", w.mergeSpec("alice", "suspend: false"), "PolicyError: ")
	w.wants("deleting", w.client.Delete(w.Context(), namespaced(w, "alice")))
}

func namespaced(w *world, name string) client.Object {
	o := server(name, "")
	o.SetNamespace(w.namespace)
	return o
}

func TestLookupThatFails(t *testing.T) {
	w := newWorld(t, "")
	broken := false
	w.serving(func(o *webhook.Options, _ *ctrl.Options) {
		read := o.Handler.Cluster.Namespace
		o.Handler.Cluster.Namespace = func(ctx context.Context, name string) (policies.Namespace, error) {
			if broken {
				return policies.Namespace{}, errors.New("reading the namespace: no connection")
			}
			return read(ctx, name)
		}
	})
	w.mustApply(server("alice", ""))
	broken = true
	err := w.apply(server("bob", ""))
	w.wants("a new server", err, denied+"the policies could not be evaluated, so nothing was changed: reading the namespace: no connection. Try again")
	if !apierrors.IsInternalError(err) {
		t.Errorf("the reason is %s", apierrors.ReasonForError(err))
	}
	w.wants("a change that only suspends", w.mergeSpec("alice", "suspend: true"))
}

// TestUnreadableSpecCanBeLeftAlone: servers created before the webhook or before an upgrade may have unreadable specs.
func TestUnreadableSpecCanBeLeftAlone(t *testing.T) {
	for reason, spec := range map[string]string{
		"it does not render":   `patches: [{target: {kind: Deployment}, type: merge, patch: "{a: b}"}]`,
		"it cannot be decoded": unreadable,
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t, "webhook: {failurePolicy: Ignore}")
			w.mustApply(server("alice", spec))
			w.serving()
			w.wants("a label", w.merge("alice", map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}}))
			if warnings := w.warned(); len(warnings) != 1 || !strings.Contains(warnings[0], "does not affect that") {
				t.Errorf("the warnings are %q", warnings)
			}
			w.wants("another field", w.mergeSpec("alice", "routing: {path: /other}"), "the spec ")
			w.wants("suspending", w.mergeSpec("alice", "suspend: true"))
			w.wants("fixing it", w.mergeSpec("alice", "{patches: null, pod: null}"))
		})
	}
}

func TestFinalizersCanBeRemoved(t *testing.T) {
	w := newWorld(t, "")
	r := w.serving()
	for _, name := range []string{"alice", "bob"} {
		o := server(name, "")
		o.SetFinalizers([]string{"example.org/backup"})
		w.mustApply(o)
		if err := w.client.Delete(w.Context(), namespaced(w, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.judge.UseNone(errors.New("broken"))
	none := map[string]any{"metadata": map[string]any{"finalizers": nil}}
	w.wants("while the policies are broken", w.merge("alice", none))
	r.stop()
	w.wants("while the webhook is down", w.merge("bob", none))
	for _, name := range []string{"alice", "bob"} {
		if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, server(name, "")); !apierrors.IsNotFound(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func TestWebhookIsDown(t *testing.T) {
	t.Run("Fail", func(t *testing.T) {
		w := newWorld(t, "")
		w.serving().stop()
		w.wants("the webhook is down", w.apply(server("alice", "")), "failed calling webhook")
		w.start()
		w.called()
		w.wants("the webhook is up again", w.apply(server("alice", "")))
	})
	t.Run("Ignore", func(t *testing.T) {
		w := newWorld(t, "webhook: {failurePolicy: Ignore}")
		w.serving().stop()
		w.wants("the webhook is down", w.apply(server("alice", "auth: {mode: none}")))
	})
	t.Run("other namespaces", func(t *testing.T) {
		w := newWorld(t, "")
		w.serving().stop()
		o := server("alice", "")
		o.SetNamespace(metav1.NamespaceDefault)
		w.wants("with watchNamespaces the webhook does not apply to others", w.client.Create(w.Context(), o, client.DryRunAll))
	})
}
