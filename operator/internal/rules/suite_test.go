// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// suite is a real etcd and kube-apiserver. Loaders have only the permissions that they need.
var suite struct {
	operator *rest.Config // a user with only the permissions of the test's roles
	client   client.Client
}

const operatorUser = "operator"

func TestMain(m *testing.M) {
	apiservertest.Main(m, func(cp *apiservertest.ControlPlane) error {
		user, err := cp.Environment.AddUser(envtest.User{Name: operatorUser}, nil)
		if err != nil {
			return err
		}
		suite.client, suite.operator = cp.Client, user.Config()
		suite.operator.QPS = -1
		return nil
	})
}

var (
	newRenderer = sync.OnceValues(func() (*render.Renderer, error) { return render.New(chart.Files, config.Default()) })
	newServer   = sync.OnceValues(func() (*v1alpha1.JupyterServer, error) {
		reader, err := schema.NewReader()
		if err != nil {
			return nil, err
		}
		servers, err := reader.Read(context.Background(), strings.NewReader(`
apiVersion: jupyterserver.dev/v1alpha1
kind: JupyterServer
metadata: {name: alice}
spec:
  routing: {host: jupyter.example.org}
`), "science")
		if err != nil {
			return nil, err
		}
		return servers[0], nil
	})
)

// sample returns an input without violations of the built-in rules.
func sample(t testing.TB) policies.Input {
	t.Helper()
	renderer, err := newRenderer()
	if err != nil {
		t.Fatal(err)
	}
	server, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := renderer.Render(server, render.References{})
	if err != nil {
		t.Fatal(err)
	}
	return policies.Input{
		Operation: policies.Create, Object: server, Namespace: policies.Namespace{Name: server.Namespace}, Objects: rendered.Objects,
	}
}

// world is the namespace of one test.
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
	timeout   time.Duration // of one evaluation: long where time does not matter
	sentinels int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, ctx: t.Context(), timeout: 10 * time.Second}
	w.namespace = apiservertest.NewNamespace(t, suite.client)
	w.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "rules"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}})
	w.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "lease"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}})
	w.bind("rules")
	w.bind("lease")
	return w
}

func (w *world) bind(role string) {
	w.Helper()
	w.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}},
	})
}

func (w *world) create(o client.Object) {
	w.Helper()
	o.SetNamespace(w.namespace)
	if err := suite.client.Create(w.ctx, o); err != nil {
		w.Fatalf("creating %T %s: %v", o, o.GetName(), err)
	}
}

// apply creates or replaces a ConfigMap of rules.
func (w *world) apply(name string, files map[string]string) {
	w.Helper()
	w.applyIn(w.namespace, name, files)
}

func (w *world) applyIn(namespace, name string, files map[string]string) {
	w.Helper()
	data := map[string]string{}
	for key, text := range files {
		data[key] = strings.Replace(text, "NAME", name, 1)
	}
	c := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{Label: LabelValue}}, Data: data,
	}
	err := suite.client.Update(w.ctx, c)
	if apierrors.IsNotFound(err) {
		err = suite.client.Create(w.ctx, c)
	}
	if err != nil {
		w.Fatalf("applying %s: %v", name, err)
	}
}

func (w *world) delete(name string) {
	w.Helper()
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	if err := suite.client.Delete(w.ctx, c); err != nil {
		w.Fatalf("deleting %s: %v", name, err)
	}
}

// patch applies a merge patch to a ConfigMap.
func (w *world) patch(name, change string) {
	w.Helper()
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	if err := suite.client.Patch(w.ctx, c, client.RawPatch("application/merge-patch+json", []byte(change))); err != nil {
		w.Fatalf("patching %s: %v", name, err)
	}
}

// replica is one running operator.
type replica struct {
	*world
	loader  *Loader
	judge   *judge.Judge
	mgr     ctrl.Manager
	metrics *prometheus.Registry
	changed atomic.Int32
	stop    func() // stops it and waits until it has stopped
}

// start runs a replica until the test ends. adjust may be nil.
func (w *world) start(adjust func(*ctrl.Options)) *replica {
	w.Helper()
	renderer, err := newRenderer()
	if err != nil {
		w.Fatal(err)
	}
	trials, err := judge.Samples(renderer)
	if err != nil {
		w.Fatal(err)
	}
	options := ctrl.Options{Scheme: scheme.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}}
	if adjust != nil {
		adjust(&options)
	}
	mgr, err := ctrl.NewManager(suite.operator, options)
	if err != nil {
		w.Fatal(err)
	}
	r := &replica{world: w, mgr: mgr, judge: judge.New(renderer), metrics: prometheus.NewPedanticRegistry()}
	r.loader, err = New(mgr, Options{
		Namespace: w.namespace,
		Judge:     r.judge,
		Policies:  policies.Options{Config: policies.Default(), Trials: trials, Timeout: w.timeout},
		Changed:   func() { r.changed.Add(1) },
	})
	if err != nil {
		w.Fatal(err)
	}
	if err := mgr.Add(r.loader); err != nil {
		w.Fatal(err)
	}
	r.metrics.MustRegister(r.loader)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the manager stopped with %v", err)
		}
	})
	w.Cleanup(r.stop)
	return r
}

// ready starts a replica and waits until it has loaded or rejected the rules.
func (w *world) ready() *replica {
	w.Helper()
	r := w.start(nil)
	r.waitUntilReady()
	return r
}

func (r *replica) waitUntilReady() {
	r.Helper()
	r.eventually("the replica is ready", func() error { return r.loader.Ready(nil) })
}

// digest returns the digest of the rules in force, or an empty string if none are.
func (r *replica) digest() string {
	r.loader.report.mu.Lock()
	defer r.loader.report.mu.Unlock()
	return r.loader.report.digest
}

// ids returns the verdicts of the rules in force on the sample.
func (r *replica) ids() ([]string, error) {
	server, err := newServer()
	if err != nil {
		return nil, err
	}
	result, err := r.judge.Ask(r.ctx, judge.Case{
		Operation: policies.Create, Server: server, Namespace: policies.Namespace{Name: server.Namespace},
	})
	var ids []string
	for _, verdict := range result.Verdicts {
		ids = append(ids, verdict.ID)
	}
	return ids, err
}

const (
	// promised is the time within which a change is promised to be in force.
	promised = 2 * time.Second
	// late is when the promise counts as broken on a busy machine.
	late = 5 * time.Second
	// patient is the timeout where time does not matter.
	patient = 60 * time.Second
)

// wants waits until exactly these rules give verdicts.
func (r *replica) wants(ids ...string) {
	r.Helper()
	r.wantsWithin(patient, ids...)
}

// wantsSoon is like wants, within the promised time.
func (r *replica) wantsSoon(ids ...string) {
	r.Helper()
	if took := r.wantsWithin(late, ids...); took > promised {
		r.Logf("later than the promised %v", promised)
	}
}

func (r *replica) wantsWithin(within time.Duration, ids ...string) time.Duration {
	r.Helper()
	start := time.Now()
	apiservertest.Eventually(r.T, "the verdicts of the rules in force", within, func() error {
		got, err := r.ids()
		if err == nil && !slices.Equal(got, ids) {
			err = fmt.Errorf("the verdicts are %v, want %v", got, ids)
		}
		return err
	})
	took := time.Since(start)
	r.Logf("%v are in force after %v", ids, took.Round(time.Millisecond))
	return took
}

// keeps checks that these rules stay in force, by waiting for a later change to come into force.
func (r *replica) keeps(ids ...string) {
	r.Helper()
	time.Sleep(2 * quietPeriod) // otherwise it would be merged with earlier changes
	r.sentinels++
	sentinel := fmt.Sprintf("zz-sentinel-%d", r.sentinels) // the last of all ids
	r.apply("sentinel", rego(sentinel))
	var got []string
	r.eventually("the sentinel is in force", func() (err error) {
		if got, err = r.ids(); err == nil && !slices.Contains(got, sentinel) {
			err = fmt.Errorf("the verdicts are %v, want %s among them", got, sentinel)
		}
		return err
	})
	if want := append(slices.Clone(ids), sentinel); !slices.Equal(got, want) {
		r.Fatalf("the verdicts are %v, want still %v", got, want)
	}
}

// eventually retries until it succeeds, and fails with the last error.
func (w *world) eventually(what string, try func() error) {
	w.Helper()
	apiservertest.Eventually(w.T, what, patient, try)
}

// events returns the events about a ConfigMap as TYPE REASON NOTE, in order.
func (w *world) events(name string) []string {
	w.Helper()
	var list eventsv1.EventList
	if err := suite.client.List(w.ctx, &list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	var out []string
	for _, e := range list.Items {
		if e.Regarding.Kind == "ConfigMap" && e.Regarding.Name == name {
			out = append(out, e.Type+" "+e.Reason+" "+e.Note)
		}
	}
	return out
}

// wantEvents waits until the events about a ConfigMap have these prefixes, and there are no others.
func (w *world) wantEvents(name string, want ...string) {
	w.Helper()
	w.eventually("the events", func() error {
		got := w.events(name)
		for i := range want {
			if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
				return fmt.Errorf("the events of %s are %q, want %q", name, got, want)
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("the events of %s are %q, want %q", name, got, want)
		}
		return nil
	})
}

// wantMetric waits until a metric has these values, by its only label or without one.
func (r *replica) wantMetric(metric string, want map[string]float64) {
	r.Helper()
	r.eventually("the metric", func() error {
		families, err := r.metrics.Gather()
		if err != nil {
			return err
		}
		got := map[string]float64{}
		for _, family := range families {
			if family.GetName() != metric {
				continue
			}
			for _, m := range family.GetMetric() {
				label := ""
				for _, pair := range m.GetLabel() {
					label = pair.GetValue()
				}
				got[label] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("%s is %v, want %v", metric, got, want)
		}
		return nil
	})
}

const (
	acceptedMetric = "jupyterserver_policy_configmap_accepted"
	refusalsMetric = "jupyterserver_policy_configmap_refusals_total"
	inForceMetric  = "jupyterserver_policy_rules_in_force"
	infoMetric     = "jupyterserver_policy_rules_info"
)
