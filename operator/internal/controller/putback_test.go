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

// A server whose spec is blocked goes on as it was released. Somebody removes its Secret, or a key, without which its pod could not
// start again.
func TestWhatThePodReadsIsPutBack(t *testing.T) {
	inline := func(value string) v1alpha1.Auth {
		return v1alpha1.Auth{Mode: v1alpha1.AuthModeToken, Token: &v1alpha1.SecretValue{Value: value}}
	}
	named := v1alpha1.Auth{Mode: v1alpha1.AuthModeToken, Token: &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}}
	refuse := func(w *world, edit func(*v1alpha1.JupyterServer)) {
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
		// auth is what is released. Nil: a generated token.
		auth  func(*world) v1alpha1.Auth
		block func(*world)
		// removed is the key that somebody removes. Empty: the whole Secret.
		removed string
		// then is what follows. Nil: nothing.
		then func(*world)
		// want are the lengths of the values, or the values.
		want map[string]string
	}{
		{
			reason: "a rule that is new refuses the spec that is released",
			block:  func(w *world) { refuse(w, nothing) },
			want:   map[string]string{"token": "48"},
		},
		{
			reason:  "the token alone is removed",
			block:   func(w *world) { refuse(w, nothing) },
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
			reason: "the refused spec needs no Secret of its own",
			block: func(w *world) {
				w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"token": "x"}})
				refuse(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = named })
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "the refused spec wants another access control, which leaves nothing there",
			block: func(w *world) {
				refuse(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = withSecret(w) })
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "the record is gone as well",
			block:  func(w *world) { refuse(w, nothing); w.remove("sh.helm.release.v1.alice.v1", &corev1.Secret{}) },
			want:   map[string]string{"token": "48"},
		},
		{
			reason: "people sign in, and the refused spec has a token, which is still there from before",
			block: func(w *world) {
				w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = w.oidcServer("alice").Spec.Auth })
				w.released("alice")
				refuse(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
			},
			removed: "cookie-secret", want: map[string]string{"token": "48", "cookie-secret": "43"},
		},
		{
			reason: "inline values that are released come from the spec",
			auth:   withSecret,
			block:  func(w *world) { refuse(w, nothing) },
			want:   map[string]string{"cookie-secret": "43", "client-secret": "an-inline-client-secret"},
		},
		{
			reason: "inline values are known though the spec has changed, where that was nothing for the release",
			auth:   withSecret,
			block: func(w *world) {
				w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(false)} })
				w.released("alice")
				refuse(w, nothing)
			},
			want: map[string]string{"cookie-secret": "43", "client-secret": "an-inline-client-secret"},
		},
		{
			reason: "a refused spec cannot smuggle in its token",
			auth:   func(*world) v1alpha1.Auth { return inline("the-token-that-is-released") },
			block: func(w *world) {
				refuse(w, func(s *v1alpha1.JupyterServer) { s.Spec.Auth = inline("weak") })
			},
			want: map[string]string{"token": "48"},
		},
		{
			reason: "what was rolled back to has another access control",
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
			then: func(w *world) { // another Secret is a reason to try the spec again
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
			w.eventually("the Secret is put back", func() error {
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

// holds says whether a Secret has these values, or values of these lengths, and the salt.
func holds(secret *corev1.Secret, want map[string]string) error {
	for key, value := range want {
		if got := string(secret.Data[key]); got != value && strconv.Itoa(len(got)) != value {
			return fmt.Errorf("%s holds %d characters, want %s", key, len(got), value)
		}
	}
	return expect(len(secret.Data), len(want)+1)
}

// What is put back is told, because a new token counts only when the pod starts again. What cannot be put back is not.
func TestPuttingBackIsTold(t *testing.T) {
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
			t.Errorf("the event says %q", event.Message)
		}
	}
}

// Sessions must not outlive a change of the provider, also where the key of the cookies was put back without knowing whose it was.
func TestKeyOfUnknownOriginIsMadeAnew(t *testing.T) {
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
	w.eventually("the Secret is put back", func() error {
		secret = &corev1.Secret{}
		return w.tryGet("alice-jupyter", secret)
	})
	w.label(map[string]string{forbidden: ""})
	w.released("alice")
	after := &corev1.Secret{}
	w.get("alice-jupyter", after)
	if string(after.Data["cookie-secret"]) == string(secret.Data["cookie-secret"]) {
		t.Error("sessions of one provider are good at another")
	}
}

// Somebody else's Secret of the name is left alone, also by a server whose pod lacks its own.
func TestSomebodyElsesSecretIsNotFilled(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
	})
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	w.eventually("the Secret is another one", func() error {
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
		t.Errorf("it was written to: %v", secret)
	}
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
}

// A Secret that the spec names is its owner's to make, whatever its name.
func TestNamedSecretIsNotMade(t *testing.T) {
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

// A Secret without an owner would outlive its server. To take it for somebody else's would cost the token.
func TestSecretThatLostItsOwnerGetsItBack(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	server := w.released("alice")
	before, secret := &corev1.Secret{}, &corev1.Secret{}
	w.get("alice-jupyter", before)
	w.patchJSON("alice-jupyter", secret, `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	w.eventually("it is the server's again", func() error {
		w.get("alice-jupyter", secret)
		return expect(metav1.IsControlledBy(secret, server), true)
	})
	w.quiet()
	after := w.released("alice")
	if string(secret.Data["token"]) != string(before.Data["token"]) || after.Status.Release.Revision != 1 {
		t.Errorf("the token is another one, or the pod was restarted: %+v", after.Status.Release)
	}
}

// The same where the spec is blocked.
func TestSecretOfABlockedServerGetsItsOwnerBack(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
	})
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	secret := &corev1.Secret{}
	w.patchJSON("alice-jupyter", secret, `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	w.eventually("it is the server's again", func() error {
		w.get("alice-jupyter", secret)
		return expect(len(secret.OwnerReferences), 1)
	})
}

// What the API server refuses changes nothing, the secrets neither.
func TestRefusedUpgradeLeavesTheSecrets(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	before, after := &corev1.Secret{}, &corev1.Secret{}
	w.get("alice-jupyter", before)
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "a-token-that-is-not-to-be"}
		s.Spec.Storage.Size = "2Gi" // no storage class here lets a claim grow
	})
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
	w.quiet()
	w.get("alice-jupyter", after)
	if before.ResourceVersion != after.ResourceVersion {
		t.Errorf("the Secret was written to: the token is %q", after.Data["token"])
	}
}

// An upgrade that the API server refuses leaves the secret of the revision that goes on.
func TestInlineSecretStaysWhileAPodReadsIt(t *testing.T) {
	w := newWorld(t)
	server := w.oidcServer("alice")
	server.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
	w.create(server)
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.OIDC.ClientSecret = nil
		s.Spec.Storage.Size = "2Gi" // no storage class here lets a claim grow
	})
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
	w.quiet()
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if err := holds(secret, map[string]string{"cookie-secret": "43", "client-secret": "an-inline-client-secret"}); err != nil {
		t.Error(err)
	}
}

// What keeps the spec from being applied, and what keeps the pod from running, are two things: somebody needs both.
func TestBlockedServerTellsWhyItsPodDoesNotRun(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "old"
	w.create(server)
	w.released("alice")
	w.playPod("alice", true)
	w.status("alice", "running", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateRunning })
	w.label(map[string]string{forbidden: "old"})
	if message := w.stalled("alice", "SuiteImage"); !strings.HasSuffix(message, "Until then the previous revision keeps running.") {
		t.Errorf("%q does not say that it goes on", message)
	}
	w.playPod("alice", false)
	w.eventually("both are told", func() error {
		message := w.stalled("alice", "SuiteImage")
		if !strings.Contains(message, "rule suite-image") || !strings.Contains(message, "cannot be pulled") || strings.Contains(message, "previous revision") {
			return errors.New(message)
		}
		return nil
	})
}

// The mark of an inline token keeps it from living on as the generated one.
func TestMarkOfAnInlineTokenIsPutBack(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "an-inline-token-that-is-long-enough"}
	w.create(server)
	w.released("alice")
	secret := &corev1.Secret{}
	w.patch("alice-jupyter", secret, `{"metadata":{"labels":{"jupyterserver.dev/token":null}}}`)
	w.eventually("the mark is back", func() error {
		w.get("alice-jupyter", secret)
		return expect(secret.Labels["jupyterserver.dev/token"], "inline")
	})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.Token = nil })
	w.released("alice")
	if w.get("alice-jupyter", secret); string(secret.Data["token"]) == "an-inline-token-that-is-long-enough" {
		t.Error("the inline token is the generated one now")
	}
}

// An inline value that the spec does not hold any more is of no use to anybody but a thief.
func TestInlineTokenGoesWhereTheSpecNamesASecret(t *testing.T) {
	w := newWorld(t)
	w.namesItsToken(w.server("alice"))
	w.eventually("the inline token is gone", func() error {
		secret := &corev1.Secret{}
		w.get("alice-jupyter", secret)
		return expect(len(secret.Data["token"]), 0)
	})
	w.quiet()
	w.released("alice")
}

// namesItsToken releases a server with an inline token, and then has its spec name a Secret instead.
func (w *world) namesItsToken(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"token": "a-token-of-my-own-that-is-long"}})
	server.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "an-inline-token-that-is-long-enough"}
	w.create(server)
	w.released(server.Name)
	w.change(server.Name, func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}
	})
}

// What the API server refuses of the server's own Secret is told, and is not tried for ever.
func TestOwnSecretThatMayNotBeWrittenIsTold(t *testing.T) {
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

// Whoever makes the Secret unwritable keeps nobody from putting back the rest, such as the NetworkPolicy.
func TestUnwritableSecretDoesNotStopDriftRepair(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.patch("alice-jupyter", &corev1.Secret{}, `{"data":{"token":null},"immutable":true}`)
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
	w.remove("alice", &networkingv1.NetworkPolicy{})
	w.eventually("it is put back", func() error { return w.tryGet("alice", &networkingv1.NetworkPolicy{}) })
	w.stalled("alice", v1alpha1.ReasonApplyRefused)
}

// A Secret that somebody keeps by hand, and names, is not to go with the server, whatever its labels are from.
func TestNamedSecretKeepsItsOwner(t *testing.T) {
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
		t.Error("it would go with the server")
	}
}

// Who mounts the whole Secret reads every key of it.
func TestInlineTokenStaysWhileAPodReadsTheWholeSecret(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Pod = &v1alpha1.PodExtras{Containers: []corev1.Container{{
		Name: "backup", Image: "x", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "alice-jupyter"}}}},
	}}}
	w.namesItsToken(server)
	w.released("alice")
	w.quiet()
	secret := &corev1.Secret{}
	if w.get("alice-jupyter", secret); len(secret.Data["token"]) == 0 {
		t.Error("it was taken from under the pod")
	}
}
