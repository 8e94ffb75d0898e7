// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	managerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/controller"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
)

// The suite has one control plane without other controllers: no pod starts, and nothing is garbage-collected. Its tests are not
// parallel, because each operator reconciles all servers.
var suite struct {
	config     *rest.Config
	kubeconfig string
	client     client.Client
	kube       kubernetes.Interface
	renderer   *render.Renderer
	evaluator  *policies.Evaluator
}

// concurrency is the number of servers that an operator reconciles at once: more than there are cases whose requests hang.
const concurrency = 250

func TestMain(m *testing.M) {
	apiservertest.Main(m, prepare)
}

func prepare(cp *apiservertest.ControlPlane) (err error) {
	suite.config, suite.kubeconfig, suite.client = cp.Config, cp.Kubeconfig, cp.Client
	if suite.kube, err = kubernetes.NewForConfig(cp.Config); err != nil {
		return err
	}
	if suite.renderer, err = render.New(chart.Files, config.Default()); err != nil {
		return err
	}
	rules, err := policiestest.Config()
	if err != nil {
		return err
	}
	suite.evaluator, err = policies.New(context.Background(), policies.Options{Config: rules, Timeout: time.Minute})
	return err
}

// operator acts as one process of the operator: its memory is lost when it stops.
type operator struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
	// wake triggers a turn of all servers.
	wake chan event.GenericEvent
}

// start starts an operator that sends its requests through a transport.
func start(t *testing.T, over func(http.RoundTripper) http.RoundTripper) *operator {
	t.Helper()
	cfg := rest.CopyConfig(suite.config)
	cfg.Wrap(over)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:  suite.client.Scheme(),
		Logger:  logr.New(log.NullLogSink{}), // these tests cause hundreds of errors
		Cache:   controller.CacheOptions(),
		Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: managerconfig.Controller{
			Logger:             logr.New(log.NullLogSink{}),
			SkipNameValidation: new(true), // this process runs several managers
		},
	})
	if err != nil {
		t.Fatalf("creating a manager: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked := judge.New(suite.renderer)
	asked.Use(suite.evaluator)
	o := &operator{t: t, cancel: cancel, ended: make(chan error, 1), wake: make(chan event.GenericEvent)}
	options := controller.Options{Renderer: suite.renderer, Judge: asked, RulesChanged: o.wake, Upgrades: config.Default().Release, Concurrency: concurrency}
	if err := controller.Setup(ctx, mgr, options); err != nil {
		t.Fatalf("setting up the operator: %v", err)
	}
	go func() { o.ended <- mgr.Start(ctx) }()
	t.Cleanup(o.stop)
	return o
}

// stop stops the operator and waits until it has ended.
func (o *operator) stop() {
	if o.cancel == nil {
		return
	}
	o.cancel()
	o.cancel = nil
	if err := <-o.ended; err != nil {
		o.t.Errorf("the operator ended with: %v", err)
	}
}

func newNamespace(t *testing.T) string {
	t.Helper()
	return apiservertest.NewNamespace(t, suite.client)
}

// each calls do for all elements, eight at a time, and fails if one of them does.
func each[T any](t *testing.T, all []T, do func(T) error) {
	t.Helper()
	var (
		group sync.WaitGroup
		slots = make(chan struct{}, 8)
		mu    sync.Mutex
		errs  []error
	)
	for _, one := range all {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := do(one); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// eventually retries until it succeeds, and fails with the last error.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	apiservertest.Eventually(t, what, 3*time.Minute, try)
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}
