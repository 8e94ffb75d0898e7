// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// oidcServer returns the smallest valid server with OIDC, which has a public client.
func (w *world) oidcServer(name string) *v1alpha1.JupyterServer {
	server := w.server(name)
	server.Spec.Auth.Mode = v1alpha1.AuthModeOIDC
	server.Spec.Auth.OIDC = &v1alpha1.OIDC{IssuerURL: "https://id.example.org", ClientID: "x", Allow: v1alpha1.Allow{Users: []string{"u"}}}
	return server
}

func TestOIDCInstall(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	server := w.released("alice")

	set, service, policy := &appsv1.StatefulSet{}, &corev1.Service{}, &networkingv1.NetworkPolicy{}
	w.get("alice", set)
	w.get("alice", service)
	w.get("alice", policy)
	var names []string
	for _, c := range set.Spec.Template.Spec.InitContainers {
		names = append(names, c.Name)
	}
	if want := []string{"access-check", "access-authorization", "access-authentication", "access-proxy"}; !slices.Equal(names, want) {
		t.Errorf("the sidecars are %v, want %v", names, want)
	}
	jupyter := set.Spec.Template.Spec.Containers[0]
	if !slices.Contains(jupyter.Args, "--ServerApp.ip=127.0.0.1") || len(jupyter.Ports) > 0 {
		t.Errorf("Jupyter can be reached around the proxy: %v %v", jupyter.Args, jupyter.Ports)
	}
	if got := service.Spec.Ports[0].TargetPort.String(); got != "8000" || len(service.Spec.Ports) != 1 {
		t.Errorf("the ports of the Service are %v, want only that of the proxy", service.Spec.Ports)
	}
	if got := policy.Spec.Ingress[0].Ports[0].Port.String(); got != "8000" {
		t.Errorf("the NetworkPolicy opens %s, want the proxy", got)
	}
	for _, name := range []string{"alice-access", "alice-access-rules"} {
		o := &corev1.ConfigMap{}
		w.get(name, o)
		if !metav1.IsControlledBy(o, server) {
			t.Errorf("ConfigMap %s is not owned by the server: %v", name, o.OwnerReferences)
		}
	}
}

// 7 objects and the Secret are n = 8, and the budget is n + 4 requests.
func TestOIDCInstallStaysWithinItsBudgetOfRequests(t *testing.T) {
	w := newWorld(t)
	w.installsWithin(w.oidcServer("alice"), 12)
}

func TestOIDCSecrets(t *testing.T) {
	w := newWorld(t)
	server := w.oidcServer("alice")
	server.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
	w.create(server)
	w.released("alice")
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	cookie := string(secret.Data["cookie-secret"])
	if len(cookie) != 43 || string(secret.Data["client-secret"]) != "an-inline-client-secret" || len(secret.Data["salt"]) != 43 || len(secret.Data) != 3 {
		t.Fatalf("the server's Secret holds %d keys, a cookie secret of %d characters, and the client's secret %q", len(secret.Data), len(cookie), secret.Data["client-secret"])
	}
	w.nowhere(cookie, "an-inline-client-secret")

	checksum := w.podChecksum("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.ClientSecret.Value = "another-client-secret" })
	w.released("alice")
	if w.podChecksum("alice") == checksum {
		t.Error("a changed client secret did not restart the pod, which reads it only at its start")
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.ClientSecret = nil })
	w.released("alice")
	w.eventually("the client secret that the spec no longer has is removed", func() error {
		secret = &corev1.Secret{}
		w.get("alice-jupyter", secret)
		return expect(len(secret.Data["client-secret"]), 0)
	})
	if string(secret.Data["cookie-secret"]) != cookie {
		t.Error("the cookie secret changed, which ends all sessions")
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.IssuerURL = "https://other.example.org" })
	w.released("alice")
	w.get("alice-jupyter", secret)
	if string(secret.Data["cookie-secret"]) == cookie {
		t.Error("sessions of one provider are valid at another, where the same subject is another user")
	}
}

func TestChangeFromTokenToOIDCAndBack(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = w.oidcServer("alice").Spec.Auth })
	w.released("alice")
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if len(secret.Data["cookie-secret"]) == 0 {
		t.Errorf("there is no cookie secret in %v", secret.Data)
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
	w.released("alice")
	w.eventually("the ConfigMaps of the access control are pruned", func() error {
		for _, name := range []string{"alice-access", "alice-access-rules"} {
			if err := w.tryGet(name, &corev1.ConfigMap{}); err == nil {
				return fmt.Errorf("ConfigMap %s is still there", name)
			}
		}
		return nil
	})
}

func TestOIDCReferences(t *testing.T) {
	w := newWorld(t)
	server := w.oidcServer("alice")
	server.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "client", Key: "secret"}}
	server.Spec.Auth.OIDC.CABundle = &v1alpha1.CABundle{ConfigMapKeyRef: v1alpha1.KeyRef{Name: "bundle", Key: "ca.crt"}}
	w.create(server)
	reports := func(reason string, words ...string) {
		t.Helper()
		w.eventually("the message names what is missing", func() error {
			message := w.stalled("alice", reason)
			for _, word := range words {
				if !strings.Contains(message, word) {
					return fmt.Errorf("%q lacks %q", message, word)
				}
			}
			return nil
		})
	}
	reports(v1alpha1.ReasonReferenceNotFound, "Secret client", "spec.auth.oidc.clientSecret.secretKeyRef")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "client", Namespace: w.namespace}, StringData: map[string]string{"secret": "x\n"}})
	reports(v1alpha1.ReasonSecretInvalid, "key secret of the Secret client", "spec.auth.oidc.clientSecret.secretKeyRef", "line break")
	w.patch("client", &corev1.Secret{}, `{"stringData":{"secret":"x"}}`)
	reports(v1alpha1.ReasonReferenceNotFound, "ConfigMap bundle", "spec.auth.oidc.caBundle", "does not exist")
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bundle", Namespace: w.namespace}, Data: map[string]string{"other": "x"}})
	reports(v1alpha1.ReasonReferenceNotFound, "has no key ca.crt")
	w.patch("bundle", &corev1.ConfigMap{}, `{"data":{"ca.crt":"no certificate"}}`)
	reports(v1alpha1.ReasonBundleInvalid, "holds no certificate", "PEM")
	w.nothingInstalled("alice", nil)
	w.patch("bundle", &corev1.ConfigMap{}, fmt.Sprintf(`{"data":{"ca.crt":%q}}`, certificate(t)))
	w.released("alice")

	checksum := w.podChecksum("alice")
	w.patch("bundle", &corev1.ConfigMap{}, `{"data":{"unrelated":"x"}}`)
	w.quiet()
	if w.podChecksum("alice") != checksum {
		t.Error("an unused key restarted the pod")
	}
	w.patch("bundle", &corev1.ConfigMap{}, fmt.Sprintf(`{"data":{"ca.crt":%q}}`, certificate(t)))
	w.eventually("other certificates restart the pod, which reads them only at its start", func() error {
		if w.podChecksum("alice") == checksum {
			return fmt.Errorf("the checksum is still %s", checksum)
		}
		return nil
	})
}

// certificate returns a new self-signed certificate as PEM.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

// A running pod reloads the rules of allow, but not the configuration of the sign-in.
func TestChangeOfAllowKeepsThePod(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	template := func() corev1.PodTemplateSpec {
		set := &appsv1.StatefulSet{}
		w.get("alice", set)
		return set.Spec.Template
	}
	before := template()
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.Allow.Users = []string{"u", "somebody-new"} })
	w.released("alice")
	rules := &corev1.ConfigMap{}
	w.get("alice-access-rules", rules)
	if !strings.Contains(rules.Data["authorization.json"], "somebody-new") {
		t.Errorf("the rules lack the new user: %s", rules.Data["authorization.json"])
	}
	if !reflect.DeepEqual(before, template()) {
		t.Error("a change of allow changed the pod")
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.ClientID = "another" })
	w.released("alice")
	if reflect.DeepEqual(before, template()) {
		t.Error("another client did not change the pod, whose plugin reads its configuration only at its start")
	}
}

func TestEditedAccessControlIsReverted(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	w.patch("alice-access", &corev1.ConfigMap{}, `{"data":{"routes.yaml":"http: {}"}}`)
	w.patch("alice-access-rules", &corev1.ConfigMap{}, `{"data":{"authorization.json":"{\"allow\":{\"anyAuthenticated\":true}}"}}`)
	w.patch("alice", &corev1.Service{}, `{"spec":{"ports":[{"name":"http","port":80,"targetPort":8888}]}}`)
	w.eventually("all edits are reverted", func() error {
		access, rules, service := &corev1.ConfigMap{}, &corev1.ConfigMap{}, &corev1.Service{}
		w.get("alice-access", access)
		w.get("alice-access-rules", rules)
		w.get("alice", service)
		if !strings.Contains(access.Data["routes.yaml"], "forwardAuth") || strings.Contains(rules.Data["authorization.json"], "anyAuthenticated") {
			return fmt.Errorf("the ConfigMaps are %v, %v", access.Data, rules.Data)
		}
		if service.Spec.Ports[0].TargetPort.String() != "8000" {
			return fmt.Errorf("the ports of the Service are %v", service.Spec.Ports)
		}
		return nil
	})
}
