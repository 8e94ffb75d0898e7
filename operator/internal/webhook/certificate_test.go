// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
)

// served returns the certificate that a replica presents to clients, or an error if it has none.
func (r *replica) served(ctx context.Context) (*x509.Certificate, error) {
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // only the certificate is read; the API server verifies the trust
	conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("localhost:%d", r.port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("the connection has no TLS")
	}
	return secure.ConnectionState().PeerCertificates[0], nil
}

func (w *world) mustServe(r *replica) *x509.Certificate {
	w.Helper()
	certificate, err := r.served(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return certificate
}

// renewed waits until a replica serves another certificate than before.
func (w *world) renewed(r *replica, before *x509.Certificate) *x509.Certificate {
	w.Helper()
	var now *x509.Certificate
	w.eventually("the certificate changes", func() (err error) {
		if now, err = r.served(w.Context()); err == nil && now.Equal(before) {
			return fmt.Errorf("it is still the one until %s", before.NotAfter)
		}
		return err
	})
	return now
}

func (w *world) secret() *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	if err := suite.client.Get(w.Context(), w.key(), secret); err != nil {
		w.Fatal(err)
	}
	return secret
}

func (w *world) bundle() []byte {
	w.Helper()
	configuration := w.configuration()
	if err := suite.client.Get(w.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
		w.Fatal(err)
	}
	return configuration.Webhooks[0].ClientConfig.CABundle
}

func TestCertificateIsGenerated(t *testing.T) {
	w := newWorld(t, "")
	r := w.serving()
	secret, certificate := w.secret(), w.mustServe(r)
	if !bytes.Equal(w.bundle(), secret.Data["ca.crt"]) {
		t.Error("the caBundle is not the authority in the Secret")
	}
	if err := certificate.VerifyHostname(w.name() + "." + w.namespace + ".svc"); err != nil {
		t.Error(err)
	}
	if left := time.Until(certificate.NotAfter); left < 360*24*time.Hour {
		t.Errorf("the certificate is valid for only %s", left)
	}
}

func TestDeletedSecretIsRecreated(t *testing.T) {
	w := newWorld(t, "")
	r := w.serving()
	before := w.mustServe(r)
	if err := suite.client.Delete(t.Context(), w.secret()); err != nil {
		t.Fatal(err)
	}
	w.renewed(r, before)
	w.called()
	w.wants("the API server trusts the new one", w.apply(server("alice", "")))
}

func TestCertificateIsRenewedBeforeItExpires(t *testing.T) {
	w := newWorld(t, "")
	r := w.serving(func(o *webhook.Options, _ *ctrl.Options) {
		*o = o.WithLifetime(time.Minute, 55*time.Second, 200*time.Millisecond)
	})
	first, bundle := w.mustServe(r), w.bundle()
	second := w.renewed(r, first)
	if !time.Now().Before(first.NotAfter) {
		t.Errorf("it was renewed after it expired at %s", first.NotAfter)
	}
	if !bytes.Equal(bundle, w.bundle()) {
		t.Error("the authority was renewed together with the certificate")
	}
	w.wants("the API server trusts the second", w.apply(server("alice", "")))
	w.renewed(r, second)
	w.wants("the API server trusts the third", w.apply(server("bob", "")))
}

// TestExpiredCertificateIsReplaced: a certificate expires after a restored backup, or if the operator was off for a year.
func TestExpiredCertificateIsReplaced(t *testing.T) {
	w := newWorld(t, "")
	maker := &rotator.CertRotator{CAName: w.name() + "-ca", CAOrganization: "test", DNSName: w.name() + "." + w.namespace + ".svc", ExtKeyUsages: &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	begin := time.Now().Add(-2 * time.Hour)
	authority, err := maker.CreateCACert(begin, time.Now().Add(365*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := maker.CreateCertPEM(authority, begin, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	secret := w.secret()
	secret.Data = map[string][]byte{"ca.crt": authority.CertPEM, "ca.key": authority.KeyPEM, "tls.crt": certificate, "tls.key": key}
	if err := suite.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	r := w.serving()
	if now := w.mustServe(r); !now.NotAfter.After(time.Now()) {
		t.Errorf("the expired certificate until %s is served", now.NotAfter)
	}
	if !bytes.Equal(w.bundle(), authority.CertPEM) {
		t.Error("the authority, which is still valid, was replaced")
	}
}

func TestBrokenSecretIsReplaced(t *testing.T) {
	w := newWorld(t, "")
	r := w.serving()
	before, secret := w.mustServe(r), w.secret()
	secret.Data = map[string][]byte{"ca.crt": []byte("x"), "tls.crt": []byte("y")}
	if err := suite.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.renewed(r, before)
	w.called()
}

func TestEveryReplicaServesTheSame(t *testing.T) {
	w := newWorld(t, "")
	elected := func(_ *webhook.Options, m *ctrl.Options) {
		m.LeaderElection, m.LeaderElectionID, m.LeaderElectionNamespace = true, w.namespace, w.namespace
		m.LeaderElectionReleaseOnCancel = true
	}
	first := w.serving(elected)
	second := w.start(elected)
	w.ready(second)
	before := w.mustServe(first)
	if !w.mustServe(second).Equal(before) {
		t.Error("the second replica serves another certificate")
	}
	if err := suite.client.Delete(t.Context(), w.secret()); err != nil {
		t.Fatal(err)
	}
	now := w.renewed(first, before)
	if !w.renewed(second, before).Equal(now) {
		t.Error("after the renewal the second replica serves another certificate")
	}
	first.stop()
	if err := suite.client.Delete(t.Context(), w.secret()); err != nil {
		t.Fatal(err)
	}
	w.renewed(second, now) // it is the leader now
}

func TestReplicaIsNotReadyWithoutCertificate(t *testing.T) {
	w := newWorld(t, "")
	standby := func(_ *webhook.Options, m *ctrl.Options) {
		m.LeaderElection, m.LeaderElectionID, m.LeaderElectionNamespace = true, w.namespace, w.namespace
	}
	w.holdLease(w.namespace)
	r := w.start(standby)
	w.eventually("the replica is not ready", func() error {
		err := r.readiness(w)
		if err == nil || !strings.Contains(err.Error(), "[-]webhook failed") {
			return fmt.Errorf("got %w, want only the webhook to be unready", err)
		}
		return nil
	})
	if _, err := r.served(t.Context()); err == nil {
		t.Error("an unready replica serves a certificate")
	}
	leader := w.start()
	w.ready(leader)
	w.ready(r)
}

func TestConfigurationMayBeCreatedLater(t *testing.T) {
	w := newWorld(t, "")
	configuration := w.configuration()
	if err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
		t.Fatal(err)
	}
	if err := suite.client.Delete(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	w.ready(w.start())
	w.wants("the webhook is not called", w.apply(server("alice", "auth: {mode: none}"), client.DryRunAll))
	configuration.ResourceVersion, configuration.UID = "", ""
	if err := suite.client.Create(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	w.called()
}

// TestMissingConfigurationIsRemembered: without a ValidatingWebhookConfiguration, every probe would send a request to the API server.
func TestMissingConfigurationIsRemembered(t *testing.T) {
	now, requests := time.Now(), 0
	admin, err := client.NewWithWatch(suite.config, client.Options{Scheme: suite.client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	live := interceptor.NewClient(admin, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			requests++
			return c.Get(ctx, key, o, options...)
		},
	})
	ready := webhook.Readiness(client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "missing"}, live, func() time.Time { return now })
	for _, step := range []struct {
		reason   string
		later    time.Duration
		requests int
	}{
		{reason: "the first probe sends a request", requests: 1},
		{reason: "the next one does not", later: webhook.MissingTTL / 2, requests: 1},
		{reason: "it may have been created meanwhile", later: webhook.MissingTTL / 2, requests: 2},
		{reason: "it was not created", later: time.Second, requests: 2},
	} {
		now = now.Add(step.later)
		if err := ready(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil)); err != nil || requests != step.requests {
			t.Errorf("%s: %d requests, want %d; %v", step.reason, requests, step.requests, err)
		}
	}
}

func TestUpgradeOfTheChartKeepsTheCertificate(t *testing.T) {
	w := emptyWorld(t)
	w.helm("install", "--set=webhook.timeoutSeconds=7")
	r := w.start()
	w.ready(r)
	w.eventually("the caBundle is set", func() error {
		if len(w.bundle()) == 0 {
			return errors.New("there is no caBundle")
		}
		return nil
	})
	r.stop() // it would restore everything
	bundle, secret := w.bundle(), w.secret()
	for _, step := range []struct {
		reason  string
		args    []string
		timeout int32
	}{
		{reason: "an upgrade that changes nothing", args: []string{"upgrade", "--set=webhook.timeoutSeconds=7"}, timeout: 7},
		{reason: "one that changes the webhook", args: []string{"upgrade", "--set=webhook.timeoutSeconds=9,webhook.annotations.a=b,webhook.failurePolicy=Ignore"}, timeout: 9},
		{reason: "a rollback", args: []string{"rollback"}, timeout: 7},
	} {
		w.helm(step.args...)
		configuration := w.configuration()
		if err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
			t.Fatal(err)
		}
		if timeout := *configuration.Webhooks[0].TimeoutSeconds; timeout != step.timeout {
			t.Errorf("%s: the timeout is %d, so the command had no effect", step.reason, timeout)
		}
		if !bytes.Equal(w.bundle(), bundle) {
			t.Errorf("%s: the caBundle changed", step.reason)
		}
		if !reflect.DeepEqual(w.secret().Data, secret.Data) {
			t.Errorf("%s: the Secret changed", step.reason)
		}
	}
}

// helm runs helm on the chart in the test's namespace.
func (w *world) helm(args ...string) {
	w.Helper()
	command := []string{args[0], "jupyter-server-operator"}
	if args[0] != "rollback" {
		command = append(command, "../../../helm-chart", "--set=image.repository=r,crds.enabled=false,fullnameOverride="+w.namespace+",watchNamespaces={"+w.namespace+"}")
	}
	apiservertest.Helm(w.TB, suite.kubeconfig, w.namespace, append(command, args[1:]...)...)
}

// TestBundleIsRestored: `helm upgrade --force` and manual edits can remove the bundle.
func TestBundleIsRestored(t *testing.T) {
	w := newWorld(t, "")
	w.serving()
	bundle, configuration := w.bundle(), w.configuration()
	if err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
		t.Fatal(err)
	}
	configuration.Webhooks[0].ClientConfig.CABundle = nil
	if err := suite.client.Update(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	w.eventually("the caBundle is restored", func() error {
		if !bytes.Equal(w.bundle(), bundle) {
			return errors.New("it is missing or different")
		}
		return nil
	})
}

func TestExternalCertificate(t *testing.T) {
	w := newWorld(t, "webhook: {certificates: {mode: generated}}")
	if err := suite.client.Delete(t.Context(), w.secret()); err != nil {
		t.Fatal(err)
	}
	maker := &rotator.CertRotator{CAName: "ca", DNSName: w.name() + "." + w.namespace + ".svc", ExtKeyUsages: &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	begin, end := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	authority, err := maker.CreateCACert(begin, end)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	give := func() {
		certificate, key, err := maker.CreateCertPEM(authority, begin, end)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600), os.WriteFile(filepath.Join(dir, "tls.crt"), certificate, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	give()
	configuration := w.configuration()
	if err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
		t.Fatal(err)
	}
	configuration.Webhooks[0].ClientConfig.CABundle = authority.CertPEM
	if err := suite.client.Update(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	r := w.serving(func(o *webhook.Options, _ *ctrl.Options) { o.CertDir = dir })
	before := w.mustServe(r)
	give()
	w.renewed(r, before)
	if err := suite.client.Get(t.Context(), w.key(), &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("the operator created a Secret: %v", err)
	}
}

// holdLease creates a lease of a replica that does not exist.
func (w *world) holdLease(name string) {
	w.Helper()
	now := metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("absent"), LeaseDurationSeconds: ptr.To[int32](3600), AcquireTime: &now, RenewTime: &now,
	}}
	if err := suite.client.Create(w.Context(), lease); err != nil {
		w.Fatal(err)
	}
}

func TestGoroutinesEndWithTheManager(t *testing.T) {
	ours := func() (stacks []string) {
		buffer := make([]byte, 4<<20)
		for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
			if strings.Contains(stack, "operator/internal/webhook.") || strings.Contains(stack, "cert-controller") || strings.Contains(stack, "controller-runtime/pkg/webhook.") {
				stacks = append(stacks, stack)
			}
		}
		return stacks
	}
	w := newWorld(t, "")
	r := w.serving()
	if len(ours()) == 0 {
		t.Fatal("no goroutine found while the webhook runs")
	}
	r.stop()
	if stacks := ours(); len(stacks) > 0 {
		t.Errorf("%d goroutines still run:\n%s", len(stacks), strings.Join(stacks, "\n\n"))
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	mgr, err := ctrl.NewManager(suite.config, ctrl.Options{Scheme: suite.client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	service := client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "a"}
	for _, test := range []struct {
		reason  string
		options webhook.Options
		err     string
	}{
		{reason: "the address has no port", options: webhook.Options{BindAddress: "localhost", Service: service}, err: "use one such as :9443"},
		{reason: "the port is invalid", options: webhook.Options{BindAddress: ":0", Service: service}, err: "the port must be from 1 to 65535"},
		{reason: "the name of the Secret is missing", options: webhook.Options{BindAddress: ":9443"}, err: "set --webhook-service NAMESPACE/NAME"},
	} {
		if err := webhook.Setup(mgr, test.options); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: the error is %v", test.reason, err)
		}
	}
}
