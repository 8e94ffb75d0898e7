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

// The rights for generated certificates are in helm-chart/templates/webhook.yaml: they are about two objects with names.

// Options say how the webhook is served.
type Options struct {
	// Handler answers the API server.
	Handler *Handler
	// BindAddress is where the webhook listens, such as :9443.
	BindAddress string
	// Service is the Service through which the API server asks. The Secret with the certificates and the
	// ValidatingWebhookConfiguration have its name. It is needed when CertDir is empty.
	Service types.NamespacedName
	// CertDir holds tls.crt and tls.key, which somebody else makes and renews. Empty: the operator does.
	CertDir string

	// These are for tests.
	rotatorName   string        // the names of controllers are unique in a process
	lifetime      time.Duration // of a generated certificate. 0: a year
	lookahead     time.Duration // before its end, when it is renewed. 0: 90 days
	checkInterval time.Duration // of looking at that. 0: twelve hours
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
		certificate, err := keepCertificate(mgr, options)
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

var errService = errors.New("the webhook has no certificate: give --webhook-service NAMESPACE/NAME, for one of its own, or --webhook-cert-dir")

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("the webhook's address %q is none, write one such as :9443: %w", address, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("the webhook's address %q has no port from 1 to 65535, write one such as :9443", address)
	}
	return host, port, nil
}
