// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/controller"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/backoff"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/policies/policiestest"
)

// The suite runs against a real etcd and kube-apiserver without other controllers: no pod starts, and nothing is garbage-collected.
// The tests write the status that the kubelet and the StatefulSet controller would write.
var suite struct {
	config     *rest.Config
	kubeconfig string
	client     client.Client
	requests   *requestLog

	judge        *judge.Judge
	rulesChanged chan event.GenericEvent
}

func TestMain(m *testing.M) {
	apiservertest.Main(m, func(cp *apiservertest.ControlPlane) (err error) {
		suite.config, suite.kubeconfig, suite.client = cp.Config, cp.Kubeconfig, cp.Client
		cp.Stop, err = startOperator()
		return err
	})
}

// startOperator starts the operator as its main does, with a transport that records every request.
func startOperator() (stop func() error, err error) {
	cfg := rest.CopyConfig(suite.config)
	suite.requests = &requestLog{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return suite.requests.over(next) })
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:  suite.client.Scheme(),
		Cache:   controller.CacheOptions(),
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	options, err := suiteOptions(ctx)
	if err == nil {
		err = controller.Setup(ctx, mgr, options)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() error { cancel(); return <-done }, nil
}

// suiteOptions returns the options of an operator whose policies a test may change.
func suiteOptions(ctx context.Context) (controller.Options, error) {
	cfg := config.Default()
	cfg.Ingress.HTTPPort = 8000
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		return controller.Options{}, err
	}
	evaluator, err := newSuiteEvaluator(ctx, testRule)
	if err != nil {
		return controller.Options{}, err
	}
	suite.judge = judge.New(renderer)
	suite.judge.Use(evaluator)
	suite.rulesChanged = make(chan event.GenericEvent)
	return controller.Options{
		Renderer: renderer, Judge: suite.judge, RulesChanged: suite.rulesChanged, Concurrency: 4,
		Backoff:  backoff.Limits{Immediate: 3, First: time.Second, Longest: 4 * time.Second, Calm: 20 * time.Second},
		Upgrades: config.Release{RollbackAfter: metav1.Duration{Duration: 300 * time.Millisecond}},
	}, nil
}

func newSuiteEvaluator(ctx context.Context, rule string) (*policies.Evaluator, error) {
	cfg, err := policiestest.Config()
	if err != nil {
		return nil, err
	}
	cfg.Exemptions = []policies.Exemption{{
		Rules: []string{"suite-image"}, Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"policy-test/exempt": "yes"}}, Reason: "until March",
	}}
	return policies.New(ctx, policies.Options{Config: cfg, Timeout: time.Minute, Sources: []policies.Source{{Name: "suite.rego", Text: rule}}})
}

// requestLog records the requests of the operator.
type requestLog struct {
	mu   sync.Mutex
	seen []string
}

func (l *requestLog) over(next http.RoundTripper) http.RoundTripper {
	return apiservertest.RoundTripper(func(request *http.Request) (*http.Response, error) {
		l.mu.Lock()
		l.seen = append(l.seen, request.Method+" "+request.URL.Path)
		l.mu.Unlock()
		return next.RoundTrip(request)
	})
}

// of returns the requests in a namespace so far.
func (l *requestLog) of(namespace string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, request := range l.seen {
		if strings.Contains(request, "/namespaces/"+namespace+"/") {
			out = append(out, strings.Replace(request, "/namespaces/"+namespace, "", 1))
		}
	}
	return out
}

// world is the namespace of one test, with helpers to change and check it.
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return anotherWorld(t)
}

// anotherWorld returns a further namespace for the same test.
func anotherWorld(t *testing.T) *world {
	t.Helper()
	return &world{T: t, ctx: t.Context(), namespace: apiservertest.NewNamespace(t, suite.client)}
}

// server returns the smallest valid server.
func (w *world) server(name string) *v1alpha1.JupyterServer {
	s := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	s.Spec.Routing.Host = w.namespace + ".localhost" // servers with the same route are rejected
	s.Spec.Routing.Path = "/" + name
	return s
}

// create creates an object. Of a server it sends only the fields that are set, as a user would.
func (w *world) create(o client.Object) {
	w.Helper()
	if server, ok := o.(*v1alpha1.JupyterServer); ok {
		o = w.manifest(server)
		defer func() { w.get(server.Name, server) }()
	}
	if err := suite.client.Create(w.ctx, o); err != nil {
		w.Fatalf("creating %T %s: %v", o, o.GetName(), err)
	}
}

func (w *world) get(name string, into client.Object) {
	w.Helper()
	if err := w.tryGet(name, into); err != nil {
		w.Fatalf("reading %T %s: %v", into, name, err)
	}
}

func (w *world) tryGet(name string, into client.Object) error {
	return suite.client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, into)
}

// change updates a server's spec as kubectl edit would.
func (w *world) change(name string, edit func(*v1alpha1.JupyterServer)) {
	w.Helper()
	w.eventually("changing "+name, func() error {
		server := &v1alpha1.JupyterServer{}
		if err := w.tryGet(name, server); err != nil {
			return err
		}
		edit(server)
		return suite.client.Update(w.ctx, server)
	})
}

// eventually retries until it succeeds, and fails with the last error.
func (w *world) eventually(what string, try func() error) {
	w.Helper()
	apiservertest.Eventually(w.T, what, time.Minute, try)
}

// status waits until a server's current status is as wanted, and returns the server.
func (w *world) status(name, what string, wanted func(v1alpha1.JupyterServerStatus) bool) *v1alpha1.JupyterServer {
	w.Helper()
	server := &v1alpha1.JupyterServer{}
	w.eventually("status of "+name+": "+what, func() error {
		if err := w.tryGet(name, server); err != nil {
			return err
		}
		if server.Status.ObservedGeneration != server.Generation || !wanted(server.Status) {
			return fmt.Errorf("generation %d, status %+v", server.Generation, server.Status)
		}
		return nil
	})
	return server
}

// released waits until the current spec is released, and returns the server.
func (w *world) released(name string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.status(name, "released", func(s v1alpha1.JupyterServerStatus) bool {
		released := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReleased)
		return released != nil && released.Status == metav1.ConditionTrue && released.ObservedGeneration == s.ObservedGeneration
	})
}

// stalled waits until a server is stalled with a reason, and returns its message.
func (w *world) stalled(name, reason string) string {
	w.Helper()
	return w.stalledServer(name, reason).Status.Message
}

func (w *world) stalledServer(name, reason string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.status(name, "stalled with "+reason, func(s v1alpha1.JupyterServerStatus) bool {
		stalled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
		return stalled != nil && stalled.Status == metav1.ConditionTrue && stalled.Reason == reason
	})
}

// quiet waits until the operator has made no request in the namespace for a moment, and returns all requests so far.
func (w *world) quiet() []string {
	w.Helper()
	last, since := len(suite.requests.of(w.namespace)), time.Now()
	deadline := time.Now().Add(30 * time.Second)
	for time.Since(since) < 1500*time.Millisecond {
		if time.Now().After(deadline) {
			w.Fatalf("the operator keeps making requests: %v", suite.requests.of(w.namespace))
		}
		time.Sleep(50 * time.Millisecond)
		if now := len(suite.requests.of(w.namespace)); now != last {
			last, since = now, time.Now()
		}
	}
	return suite.requests.of(w.namespace)
}
