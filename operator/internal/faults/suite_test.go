// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	managerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
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
	apiservertest.Main(m, func(env *envtest.Environment, cfg *rest.Config) (func() error, error) {
		err := prepare(env, cfg)
		return func() error { return os.RemoveAll(filepath.Dir(suite.kubeconfig)) }, err
	})
}

func prepare(env *envtest.Environment, cfg *rest.Config) (err error) {
	suite.config = cfg
	if suite.client, err = apiservertest.NewClient(cfg); err != nil {
		return err
	}
	if suite.kube, err = kubernetes.NewForConfig(cfg); err != nil {
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
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "faults-test")
	if err != nil {
		return err
	}
	suite.kubeconfig = filepath.Join(dir, "kubeconfig")
	return os.WriteFile(suite.kubeconfig, env.KubeConfig, 0o600)
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

// newNamespace creates a namespace whose servers are deleted after the test.
func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := suite.client.Create(t.Context(), namespace); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = suite.client.DeleteAllOf(context.Background(), &v1alpha1.JupyterServer{}, client.InNamespace(namespace.Name))
	})
	return namespace.Name
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

// pause is between two tries.
const pause = 50 * time.Millisecond

// eventually retries until it succeeds, and fails with the last error.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(pause)
	}
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}
