// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/controller"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// The suite runs against a real etcd and kube-apiserver. The webhook configuration and the operator's permissions are those that
// helm-chart renders. Only the Service points to this process.
var suite struct {
	config     *rest.Config
	client     client.Client
	kubeconfig string
	ports      int // used so far, starting at a random one
}

func TestMain(m *testing.M) {
	apiservertest.Main(m, func(cp *apiservertest.ControlPlane) error {
		suite.config, suite.kubeconfig, suite.client = cp.Config, cp.Kubeconfig, cp.Client
		suite.ports = rand.IntN(portRange)
		return nil
	})
}

// world is the namespace of one test, with an installation of the chart that is limited to this namespace.
type world struct {
	testing.TB
	namespace string
	client    client.Client // of a user who applies servers
	port      int           // of the webhook
	judge     *judge.Judge

	mu       sync.Mutex
	warnings []string
	replicas int // started so far
	running  int
}

// newWorld installs the chart without starting a replica.
func newWorld(t testing.TB, values string) *world {
	t.Helper()
	w := emptyWorld(t)
	w.install(values)
	return w
}

func emptyWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, namespace: apiservertest.NewNamespace(t, suite.client), port: freePort(t), judge: newJudge(t)}
	w.client = w.user()
	t.Cleanup(func() { // otherwise the API server keeps calling the webhook
		_ = suite.client.Delete(context.Background(), w.configuration())
	})
	return w
}

// user returns the client of a user who reads warnings.
func (w *world) user() client.Client {
	w.Helper()
	cfg := rest.CopyConfig(suite.config)
	cfg.WarningHandlerWithContext = w
	c, err := client.New(cfg, client.Options{Scheme: suite.client.Scheme()})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// HandleWarningHeaderWithContext records warnings as kubectl would print them.
func (w *world) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if code == 299 {
		w.warnings = append(w.warnings, text)
	}
}

// warned returns the warnings since its last call.
func (w *world) warned() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.warnings = nil }()
	return w.warnings
}

func newJudge(t testing.TB) *judge.Judge {
	t.Helper()
	renderer, err := render.New(chart.Files, config.Default())
	if err != nil {
		t.Fatal(err)
	}
	j := judge.New(renderer)
	j.Use(rules(t, "{}"))
	return j
}

// rules returns an evaluator with settings on top of the defaults.
func rules(t testing.TB, settings string) *policies.Evaluator {
	t.Helper()
	cfg, err := policies.Parse([]byte("{rules: " + settings + "}"))
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := policies.New(t.Context(), policies.Options{Config: cfg, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return evaluator
}

func (w *world) name() string { return w.namespace + "-webhook" }

func (w *world) key() types.NamespacedName {
	return types.NamespacedName{Namespace: w.namespace, Name: w.name()}
}

func (w *world) configuration() *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: w.name()}}
}

// install applies the rendered chart, except for objects that the tests of the webhook do not need.
func (w *world) install(values string) {
	w.Helper()
	for _, o := range renderChart(w, w.namespace, values) {
		switch o.GetKind() {
		case "CustomResourceDefinition", "Deployment":
			continue
		case "Service":
			if o.GetName() == w.name() {
				o.Object["spec"] = map[string]any{"type": "ExternalName", "externalName": "localhost"}
			}
		case "ValidatingWebhookConfiguration":
			hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
			_ = unstructured.SetNestedField(hooks[0].(map[string]any), int64(w.port), "clientConfig", "service", "port")
			_ = unstructured.SetNestedSlice(o.Object, hooks, "webhooks")
		}
		if err := suite.client.Create(w.Context(), o); err != nil {
			w.Fatalf("creating %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

func renderChart(t testing.TB, namespace, values string) []*unstructured.Unstructured {
	t.Helper()
	c, err := loader.LoadDir("../../../helm-chart")
	if err != nil {
		t.Fatal(err)
	}
	read, err := chartutil.ReadValues([]byte(fmt.Sprintf("{image: {repository: r}, fullnameOverride: %s, watchNamespaces: [%s]}", namespace, namespace)))
	if err != nil {
		t.Fatal(err)
	}
	more, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	top, err := chartutil.ToRenderValues(c, chartutil.CoalesceTables(more, read), chartutil.ReleaseOptions{Name: namespace, Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{}.Render(c, top)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, c.Name()+"/templates/NOTES.txt")
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, m := range manifests {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(m.Content), o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// replica is one operator process with the webhook.
type replica struct {
	port, healthPort int
	stop             func() // waits until the manager has stopped
}

// start starts the webhook in a manager as the operator does, with only the permissions of the chart.
func (w *world) start(change ...func(*webhook.Options, *ctrl.Options)) *replica {
	w.Helper()
	r := &replica{port: w.port, healthPort: freePort(w)}
	if w.running > 0 {
		r.port = freePort(w)
	}
	options := webhook.Options{
		Handler: &webhook.Handler{Judge: w.judge, Cluster: webhook.Lookup{Namespace: judge.Cluster{Live: suite.client, Informed: suite.client}.Namespace}},
		Service: w.key(),
	}.WithRotatorName(fmt.Sprintf("rotator-%s-%d", w.namespace, w.replicas))
	w.replicas++
	w.running++
	options.BindAddress = fmt.Sprintf("localhost:%d", r.port)
	managerOptions := ctrl.Options{
		Scheme:                 suite.client.Scheme(),
		Cache:                  controller.CacheOptions(),
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: fmt.Sprintf("localhost:%d", r.healthPort),
	}
	for _, f := range change {
		f(&options, &managerOptions)
	}
	cfg := rest.CopyConfig(suite.config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + w.namespace + ":" + w.namespace}
	mgr, err := ctrl.NewManager(cfg, managerOptions)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := webhook.Setup(mgr, options); err != nil {
		cancel()
		w.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			w.running--
			if err := <-done; err != nil {
				w.Errorf("the manager ended with: %v", err)
			}
		})
	}
	w.Cleanup(r.stop)
	return r
}

// serving starts the webhook and waits until the API server calls it.
func (w *world) serving(change ...func(*webhook.Options, *ctrl.Options)) *replica {
	w.Helper()
	r := w.start(change...)
	w.ready(r)
	w.called()
	return r
}

// called waits until the API server calls the webhook and trusts its certificate.
func (w *world) called() {
	w.Helper()
	w.eventually("the API server calls the webhook", func() error {
		err := w.apply(server("probe", "auth: {mode: none}"), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "auth-none") {
			return fmt.Errorf("a server without access control results in %w", err)
		}
		return nil
	})
	w.warned()
}

// ready waits until a replica is ready.
func (w *world) ready(r *replica) {
	w.Helper()
	w.eventually("the replica is ready", func() error { return r.readiness(w) })
}

func (r *replica) readiness(t testing.TB) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://localhost:%d/readyz?verbose", r.healthPort), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}

// server returns a JupyterServer as a user writes it; more is the spec without the route. No fixture of the rules has the same host.
func server(name, more string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	text := fmt.Sprintf("{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: %s}, spec: {routing: {host: webhook.example.org, path: /%s}}}", name, name)
	spec := map[string]any{}
	if err := errors.Join(yaml.Unmarshal([]byte(text), o), yaml.Unmarshal([]byte("{"+strings.TrimSpace(more)+"}"), &spec)); err != nil {
		panic(err) // a test is wrong
	}
	for field, value := range spec {
		_ = unstructured.SetNestedField(o.Object, value, "spec", field)
	}
	return o
}

func (w *world) apply(o *unstructured.Unstructured, options ...client.CreateOption) error {
	o.SetNamespace(w.namespace)
	return w.client.Create(w.Context(), o, options...)
}

func (w *world) mustApply(o *unstructured.Unstructured) {
	w.Helper()
	if err := w.apply(o); err != nil {
		w.Fatalf("%s was rejected: %v", o.GetName(), err)
	}
}

// merge sends a merge patch, as kubectl patch does.
func (w *world) merge(name string, patch map[string]any) error {
	raw, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	o := server(name, "")
	o.SetNamespace(w.namespace)
	return w.client.Patch(w.Context(), o, client.RawPatch(types.MergePatchType, raw))
}

func (w *world) mergeSpec(name, spec string) error {
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		return err
	}
	return w.merge(name, map[string]any{"spec": fields})
}

func (w *world) eventually(what string, try func() error) {
	w.Helper()
	apiservertest.Eventually(w.TB, what, time.Minute, try)
}

// wants checks the parts of an error. Without parts it expects no error.
func (w *world) wants(reason string, err error, parts ...string) {
	w.Helper()
	if len(parts) == 0 && err != nil {
		w.Errorf("%s: rejected: %v", reason, err)
	}
	if len(parts) > 0 && (err == nil || slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(err.Error(), part) })) {
		w.Errorf("%s: got error %v, want %q", reason, err, parts)
	}
}

const portRange = 12000

// freePort returns a port on which no process listens, and which is not assigned to outgoing connections: the kernel uses ports
// from 32768 on for those.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		suite.ports++
		port := 20000 + suite.ports%portRange
		listener, err := net.Listen("tcp", fmt.Sprintf("localhost:%d", port)) //nolint:noctx // it only checks the port
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}
