// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WithRotatorName is for tests with several managers, because controller names are unique in a process.
func (o Options) WithRotatorName(name string) Options {
	o.rotatorName = name
	return o
}

// WithLifetime is for tests that wait for a renewal.
func (o Options) WithLifetime(lifetime, lookahead, checkInterval time.Duration) Options {
	o.lifetime, o.lookahead, o.checkInterval = lifetime, lookahead, checkInterval
	return o
}

// Readiness returns the readiness check of a replica that has a certificate.
func Readiness(name types.NamespacedName, live client.Reader, now func() time.Time) func(*http.Request) error {
	c := &certificate{name: name, live: live, now: now}
	c.current.Store(&served{})
	return c.ready
}

// MissingTTL is how long a missing ValidatingWebhookConfiguration is remembered.
const MissingTTL = missingTTL
