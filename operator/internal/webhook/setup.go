// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// The permissions for generated certificates are in helm-chart/templates/webhook.yaml, because they are limited to two named objects.

// Options configure the webhook.
type Options struct {
	// Handler answers admission requests.
	Handler *Handler
	// BindAddress is the address on which the webhook listens, such as :9443.
	BindAddress string
	// Service is the Service of the webhook. The Secret with the certificates and the ValidatingWebhookConfiguration have the same
	// name. It is required if CertDir is empty.
	Service types.NamespacedName
	// CertDir contains tls.crt and tls.key, which are renewed externally. If empty, the operator generates a certificate.
	CertDir string

	// The fields below are for tests.
	rotatorName   string        // controller names are unique in a process
	lifetime      time.Duration // of a generated certificate; 0 means a year
	lookahead     time.Duration // the time before expiry at which it is renewed; 0 means 90 days
	checkInterval time.Duration // how often the expiry is checked; 0 means 12 hours
}

// Setup adds the webhook to a manager: its server, the certificate, and a readiness check.
func Setup(mgr ctrl.Manager, options Options) error {
	host, port, err := split(options.BindAddress)
	if err != nil {
		return err
	}
	serverOptions := webhook.Options{Host: host, Port: port, CertDir: options.CertDir}
	ready := func(*http.Request) error { return nil }
	if options.CertDir == "" {
		certificate, err := setupCertificate(mgr, options)
		if err != nil {
			return err
		}
		serverOptions.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = certificate.get }}
		ready = certificate.ready
	}
	server := webhook.NewServer(serverOptions)
	server.Register(Path, &admission.Webhook{Handler: options.Handler})
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("adding the webhook's server: %w", err)
	}
	started := server.StartedChecker()
	err = mgr.AddReadyzCheck("webhook", func(request *http.Request) error {
		if err := ready(request); err != nil {
			return err
		}
		return started(request)
	})
	if err != nil {
		return fmt.Errorf("adding the readiness check of the webhook: %w", err)
	}
	return nil
}

var errService = errors.New("the webhook has no certificate: set --webhook-service NAMESPACE/NAME for a generated one, or --webhook-cert-dir")

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("invalid webhook address %q, use one such as :9443: %w", address, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("invalid webhook address %q: the port must be from 1 to 65535, such as :9443", address)
	}
	return host, port, nil
}
