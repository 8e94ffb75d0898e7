// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// A blocked server keeps its release. If its Secret or one of its keys is removed, it is restored: the pod could not start again
// without it.
func TestCredentialsOfABlockedServerAreRestored(t *testing.T) {
	inline := func(value string) v1alpha1.Auth {
		return v1alpha1.Auth{Mode: v1alpha1.AuthModeToken, Token: &v1alpha1.SecretValue{Value: value}}
	}
	named := v1alpha1.Auth{Mode: v1alpha1.AuthModeToken, Token: &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}}
	reject := func(w *world, edit func(*v1alpha1.JupyterServer)) {
		w.Helper()
		w.label(map[string]string{forbidden: "old"})
		w.change("alice", edit)
		w.stalled("alice", "SuiteImage")
	}
	withSecret := func(w *world) v1alpha1.Auth {
		auth := w.oidcServer("alice").Spec.Auth
		auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
		return auth
	}
	nothing := func(*v1alpha1.JupyterServer) {}
	tests := []struct {
		reason string
		// auth returns the access control of the release. It is nil for a generated token.
		auth  func(*world) v1alpha1.Auth
		block func(*world)
		// removed is the key that is removed. It is empty for the whole Secret.
		removed string
		// then is called after the removal. It may be nil.
		then func(*world)
		// want are the values, or their lengths, by key.
		want map[string]string
	}{
		{
			reason: "a new rule rejects the released spec",
			block:  func(w *world) { reject(w, nothing) },
			want:   map[string]string{"token": "48"},
		},
		{
			reason:  "only the token is removed",
			block:   func(w *world) { reject(w, nothing) },
			removed: "token", want: map[string]string{"token": "48"},
		},
		{
			reason: "the spec names a Secret that does not exist",
			block: func(w *world) {
				w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = named })
				w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "the rejected spec needs no Secret of its own",
			block: func(w *world) {
				w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"token": "x"}})
				reject(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = named })
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "the rejected spec has another access control, of which nothing is created",
			block: func(w *world) {
				reject(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = withSecret(w) })
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "the record is removed as well",
			block:  func(w *world) { reject(w, nothing); w.remove("sh.helm.release.v1.alice.v1", &corev1.Secret{}) },
			want:   map[string]string{"token": "48"},
		},
		{
			reason: "the release uses OIDC, and the rejected spec a token, which the Secret still has",
			block: func(w *world) {
				w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = w.oidcServer("alice").Spec.Auth })
				w.released("alice")
				reject(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
			},
			removed: "cookie-secret", want: map[string]string{"token": "48", "cookie-secret": "43"},
		},
		{
			reason: "released inline values are taken from the spec",
			auth:   withSecret,
			block:  func(w *world) { reject(w, nothing) },
			want:   map[string]string{"cookie-secret": "43", "client-secret": "an-inline-client-secret"},
		},
		{
			reason: "inline values are known after a change of the spec that does not affect the release",
			auth:   withSecret,
			block: func(w *world) {
				w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(false)} })
				w.released("alice")
				reject(w, nothing)
			},
			want: map[string]string{"cookie-secret": "43", "client-secret": "an-inline-client-secret"},
		},
		{
			reason: "the token of a rejected spec is not used",
			auth:   func(*world) v1alpha1.Auth { return inline("the-token-that-is-released") },
			block: func(w *world) {
				reject(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = inline("weak") })
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "the revision after a rollback has another access control",
			block: func(w *world) {
				w.playPod("alice", true)
				w.status("alice", "good", func(s v1alpha1.JupyterServerStatus) bool { return s.Release.GoodRevision == 1 })
				w.change("alice", func(s *v1alpha1.JupyterServer) {
					s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
					s.Spec.JupyterServer.Image = badImage
					s.Spec.Auth = w.oidcServer("alice").Spec.Auth
				})
				w.runsImage("alice", badImage)
				w.playPod("alice", false)
				w.stalled("alice", v1alpha1.ReasonRolledBack)
			},
			then: func(w *world) { // the changed Secret makes the operator try the spec again
				w.runsImage("alice", badImage)
				w.playPod("alice", false)
				w.runsImage("alice", "old")
			},
			want: map[string]string{"token": "48", "cookie-secret": "43"},
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			server := w.server("alice")
			server.Spec.JupyterServer.Image = "old"
			if test.auth != nil {
				server.Spec.Auth = test.auth(w)
			}
			w.create(server)
			w.released("alice")
			test.block(w)
			secret := &corev1.Secret{}
			w.get("alice-jupyter", secret)
			before := secret.Data[test.removed]
			if test.removed == "" {
				w.remove("alice-jupyter", secret)
			} else {
				w.patch("alice-jupyter", secret, fmt.Sprintf(`{"data":{%q:null}}`, test.removed))
			}
			if test.then != nil {
				test.then(w)
			}
			w.eventually("the Secret is restored", func() error {
				secret = &corev1.Secret{}
				if err := w.tryGet("alice-jupyter", secret); err != nil {
					return err
				}
				return holds(secret, test.want)
			})
			if test.removed != "" && string(secret.Data[test.removed]) == string(before) {
				t.Error("the key was not removed")
			}
			w.quiet()
			w.get("alice-jupyter", secret)
			if err := holds(secret, test.want); err != nil {
				t.Error(err)
			}
		})
	}
}

// holds returns an error unless a Secret has these values, or values of these lengths, and the salt.
func holds(secret *corev1.Secret, want map[string]string) error {
	for key, value := range want {
		if got := string(secret.Data[key]); got != value && strconv.Itoa(len(got)) != value {
			return fmt.Errorf("%s holds %d characters, want %s", key, len(got), value)
		}
	}
	return expect(len(secret.Data), len(want)+1)
}

// Restored keys are reported, because a new token takes effect only when the pod restarts. Keys that cannot be restored are not.
func TestRestoredCredentialsAreReported(t *testing.T) {
	w := newWorld(t)
	server := w.oidcServer("alice")
	server.Spec.JupyterServer.Image = "old"
	server.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
	w.create(server)
	w.released("alice")
	w.label(map[string]string{forbidden: "old"})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.ClientSecret.Value = "another-client-secret" })
	w.stalled("alice", "SuiteImage")
	w.remove("alice-jupyter", &corev1.Secret{})
	w.eventually("the event", func() error { return w.hasEvent("alice", "SecretPutBack") })
	list := &corev1.EventList{}
	if err := suite.client.List(w.ctx, list, client.InNamespace(w.namespace)); err != nil {
		t.Fatal(err)
	}
	for _, event := range list.Items {
		if event.Reason == "SecretPutBack" && (!strings.Contains(event.Message, "cookie-secret") || strings.Contains(event.Message, "client-secret")) {
			t.Errorf("the message of the event is %q", event.Message)
		}
	}
}

// Sessions must not outlive a change of the provider, even if the cookie secret was restored without knowing the provider.
func TestRestoredCookieSecretIsReplacedForAnotherProvider(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	w.label(map[string]string{forbidden: "old"})
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.JupyterServer.Image = "old"
		s.Spec.Auth.OIDC.IssuerURL = "https://other.example.org"
	})
	w.stalled("alice", "SuiteImage")
	secret := &corev1.Secret{}
	w.remove("alice-jupyter", secret)
	w.eventually("the Secret is restored", func() error {
		secret = &corev1.Secret{}
		return w.tryGet("alice-jupyter", secret)
	})
	w.label(map[string]string{forbidden: ""})
	w.released("alice")
	after := &corev1.Secret{}
	w.get("alice-jupyter", after)
	if string(after.Data["cookie-secret"]) == string(secret.Data["cookie-secret"]) {
		t.Error("sessions of one provider are valid at another")
	}
}

// A foreign Secret with the name of the server's is left alone, even if the pod needs the latter.
func TestForeignSecretIsNotFilled(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
	})
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	w.eventually("the Secret is replaced", func() error {
		secret := &corev1.Secret{}
		if err := w.tryGet("alice-jupyter", secret); client.IgnoreNotFound(err) != nil {
			return err
		} else if err == nil {
			if err := suite.client.Delete(w.ctx, secret); err != nil {
				return err
			}
		}
		return suite.client.Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "alice-jupyter", Namespace: w.namespace}})
	})
	w.quiet()
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if len(secret.Data) > 0 || len(secret.Labels) > 0 {
		t.Errorf("the Secret was written: %v", secret)
	}
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
}

// The operator does not create a Secret that the spec references, even if it has the name of the server's Secret.
func TestReferencedSecretIsNotCreated(t *testing.T) {
	w := newWorld(t)
	mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "alice-jupyter", Namespace: w.namespace}, StringData: map[string]string{"token": "mine"}}
	w.create(mine)
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "alice-jupyter", Key: "token"}}
	w.create(server)
	w.released("alice")
	w.remove("alice-jupyter", mine)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "other" })
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	w.quiet()
	if err := w.isGone("alice-jupyter", mine); err != nil {
		t.Error(err)
	}
}

// A Secret without an owner would outlive its server. Treating it as foreign would lose the token, so it is adopted.
func TestSecretWithoutOwnerIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	server := w.released("alice")
	before, secret := &corev1.Secret{}, &corev1.Secret{}
	w.get("alice-jupyter", before)
	w.patchJSON("alice-jupyter", secret, `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	w.eventually("the server owns the Secret again", func() error {
		w.get("alice-jupyter", secret)
		return expect(metav1.IsControlledBy(secret, server), true)
	})
	w.quiet()
	after := w.released("alice")
	if string(secret.Data["token"]) != string(before.Data["token"]) || after.Status.Release.Revision != 1 {
		t.Errorf("the token changed, or the pod was restarted: %+v", after.Status.Release)
	}
}

// A blocked spec does not prevent the adoption.
func TestSecretOfABlockedServerIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
	})
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	secret := &corev1.Secret{}
	w.patchJSON("alice-jupyter", secret, `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	w.eventually("the server owns the Secret again", func() error {
		w.get("alice-jupyter", secret)
		return expect(len(secret.OwnerReferences), 1)
	})
}

// An upgrade that the API server rejects changes nothing, including the Secret.
func TestRejectedUpgradeKeepsTheSecret(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	before, after := &corev1.Secret{}, &corev1.Secret{}
	w.get("alice-jupyter", before)
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "a-token-that-is-not-to-be"}
		s.Spec.Storage.Size = "2Gi" // no storage class allows a claim to grow
	})
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
	w.quiet()
	w.get("alice-jupyter", after)
	if before.ResourceVersion != after.ResourceVersion {
		t.Errorf("the Secret was written: the token is %q", after.Data["token"])
	}
}

// An upgrade that the API server rejects keeps the secret of the running revision.
func TestInlineSecretStaysWhileAPodReadsIt(t *testing.T) {
	w := newWorld(t)
	server := w.oidcServer("alice")
	server.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
	w.create(server)
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.OIDC.ClientSecret = nil
		s.Spec.Storage.Size = "2Gi" // no storage class allows a claim to grow
	})
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
	w.quiet()
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if err := holds(secret, map[string]string{"cookie-secret": "43", "client-secret": "an-inline-client-secret"}); err != nil {
		t.Error(err)
	}
}

// The status reports both why the spec is blocked and why the pod does not run.
func TestBlockedServerReportsWhyItsPodDoesNotRun(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "old"
	w.create(server)
	w.released("alice")
	w.playPod("alice", true)
	w.status("alice", "running", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateRunning })
	w.label(map[string]string{forbidden: "old"})
	if message := w.stalled("alice", "SuiteImage"); !strings.HasSuffix(message, "Until then the previous revision keeps running.") {
		t.Errorf("%q does not say that the previous revision keeps running", message)
	}
	w.playPod("alice", false)
	w.eventually("both are reported", func() error {
		message := w.stalled("alice", "SuiteImage")
		if !strings.Contains(message, "rule suite-image") || !strings.Contains(message, "cannot be pulled") || strings.Contains(message, "previous revision") {
			return errors.New(message)
		}
		return nil
	})
}

// The label of an inline token prevents it from being kept as a generated one.
func TestLabelOfAnInlineTokenIsRestored(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "an-inline-token-that-is-long-enough"}
	w.create(server)
	w.released("alice")
	secret := &corev1.Secret{}
	w.patch("alice-jupyter", secret, `{"metadata":{"labels":{"jupyterserver.dev/token":null}}}`)
	w.eventually("the label is restored", func() error {
		w.get("alice-jupyter", secret)
		return expect(secret.Labels["jupyterserver.dev/token"], "inline")
	})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.Token = nil })
	w.released("alice")
	if w.get("alice-jupyter", secret); string(secret.Data["token"]) == "an-inline-token-that-is-long-enough" {
		t.Error("the inline token was kept as the generated one")
	}
}

// An inline value that the spec no longer contains is removed from the Secret, where it could only leak.
func TestInlineTokenIsRemovedOnceTheSpecReferencesASecret(t *testing.T) {
	w := newWorld(t)
	w.referencesItsToken(w.server("alice"))
	w.eventually("the inline token is removed", func() error {
		secret := &corev1.Secret{}
		w.get("alice-jupyter", secret)
		return expect(len(secret.Data["token"]), 0)
	})
	w.quiet()
	w.released("alice")
}

// referencesItsToken releases a server with an inline token, and then changes its spec to reference a Secret instead.
func (w *world) referencesItsToken(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"token": "a-token-of-my-own-that-is-long"}})
	server.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "an-inline-token-that-is-long-enough"}
	w.create(server)
	w.released(server.Name)
	w.change(server.Name, func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}
	})
}

// A write of the server's own Secret that the API server rejects is reported, and not retried forever.
func TestImmutableSecretIsReported(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.patch("alice-jupyter", &corev1.Secret{}, `{"immutable":true}`)
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "an-inline-token-that-is-long-enough"}
	})
	if message := w.stalled("alice", v1alpha1.ReasonApplyRefused); !strings.Contains(message, "Secret alice-jupyter") || !strings.Contains(message, "immutable") {
		t.Errorf("message %q", message)
	}
}

// An immutable Secret does not prevent other objects, such as the NetworkPolicy, from being restored.
func TestImmutableSecretDoesNotPreventRevertingDrift(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.patch("alice-jupyter", &corev1.Secret{}, `{"data":{"token":null},"immutable":true}`)
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
	w.remove("alice", &networkingv1.NetworkPolicy{})
	w.eventually("the NetworkPolicy is restored", func() error { return w.tryGet("alice", &networkingv1.NetworkPolicy{}) })
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
}

// A Secret that the spec references must not be deleted with the server, even if it has the labels of the operator.
func TestReferencedSecretIsNotAdopted(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "alice-jupyter", Key: "token"}}
	})
	w.released("alice")
	w.quiet()
	secret := &corev1.Secret{}
	w.patchJSON("alice-jupyter", secret, `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	w.quiet()
	if w.get("alice-jupyter", secret); len(secret.OwnerReferences) > 0 {
		t.Error("the Secret would be deleted with the server")
	}
}

// A container that uses the whole Secret reads all its keys.
func TestInlineTokenStaysWhileAPodReadsTheWholeSecret(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Pod = &v1alpha1.PodExtras{Containers: []corev1.Container{{
		Name: "backup", Image: "x", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "alice-jupyter"}}}},
	}}}
	w.referencesItsToken(server)
	w.released("alice")
	w.quiet()
	secret := &corev1.Secret{}
	if w.get("alice-jupyter", secret); len(secret.Data["token"]) == 0 {
		t.Error("the token was removed while a pod reads it")
	}
}
