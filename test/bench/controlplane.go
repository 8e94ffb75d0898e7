// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// controlPlane is an etcd and a kube-apiserver for one turn.
type controlPlane struct {
	env       *envtest.Environment
	config    *rest.Config
	http      *http.Client
	apiserver process
	etcd      process
}

func startControlPlane() (*controlPlane, error) {
	env, config, err := apiservertest.Start(func(env *envtest.Environment) {
		env.ControlPlaneStartTimeout = 2 * time.Minute // a slow start must not trigger envtest's retries
	})
	if err != nil {
		return nil, err
	}
	config.Host = strings.TrimSuffix(config.Host, "/")
	cp := &controlPlane{env: env, config: config}
	if err := cp.find(); err != nil {
		cp.stop()
		return nil, err
	}
	return cp, nil
}

func (cp *controlPlane) find() (err error) {
	if cp.http, err = rest.HTTPClientFor(cp.config); err != nil {
		return err
	}
	if cp.apiserver, err = child("kube-apiserver"); err != nil {
		return err
	}
	cp.etcd, err = child("etcd")
	return err
}

// stop stops the control plane and removes its files. Errors are ignored.
func (cp *controlPlane) stop() { _ = cp.env.Stop() }

func (cp *controlPlane) scrape(ctx context.Context) (scrape, error) {
	return scrapeFrom(ctx, cp.http, cp.config.Host+"/metrics")
}

// waitIdle waits until the API server is idle: after its start it computes its OpenAPI for some seconds.
func (cp *controlPlane) waitIdle(ctx context.Context) error {
	const interval, idle = 2 * time.Second, 0.05
	before, err := cp.apiserver.cpu()
	for err == nil {
		if err = sleep(ctx, interval); err != nil {
			break
		}
		var now float64
		if now, err = cp.apiserver.cpu(); err == nil && now-before < idle*interval.Seconds() {
			return nil
		}
		before = now
	}
	return fmt.Errorf("waiting for an idle API server: %w", err)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
