// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/controller"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/rules"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/webhook"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// operatorName is the operator's name in user agents and Leases.
const operatorName = "jupyter-server-operator"

// runOptions are the flags of run. Settings that concern servers are in the configuration file.
type runOptions struct {
	config              string
	namespaces          []string
	shardSelector       string
	concurrency         int
	metricsAddress      string
	metricsAuth         bool
	healthAddress       string
	policiesNamespace   string
	webhookAddress      string
	webhookService      string
	webhookCertDir      string
	leaderElection      bool
	leaderElectionNS    string
	leaderElectionID    string
	gracefulShutdown    time.Duration
	kubeAPIQPS          int
	logFormat, logLevel string
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the controller",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.config, "config", "", "configuration file (default: built-in settings)")
	flags.StringSliceVar(&o.namespaces, "namespaces", nil, "namespaces to watch, comma-separated (default: all)")
	flags.StringVar(&o.shardSelector, "shard-selector", "", "label selector of the JupyterServers to reconcile, such as shard=a or 'shard notin (a,b)' (default: all); other servers are only read")
	flags.IntVar(&o.concurrency, "concurrency", 8, "number of servers reconciled in parallel")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "address of /metrics; 0 disables it")
	flags.BoolVar(&o.metricsAuth, "metrics-auth", false, "serve /metrics over HTTPS, only to clients that the API server authorizes")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 disables it")
	flags.StringVar(&o.policiesNamespace, "policies-namespace", "", "namespace of the ConfigMaps with custom rules; allow only administrators to write to it (default: no custom rules)")
	flags.StringVar(&o.webhookAddress, "webhook-bind-address", "0", "address of the admission webhook, such as :9443; 0 disables it")
	flags.StringVar(&o.webhookService, "webhook-service", "", "NAMESPACE/NAME of the webhook's Service; the operator creates and renews a certificate in the Secret and the ValidatingWebhookConfiguration of the same name")
	flags.StringVar(&o.webhookCertDir, "webhook-cert-dir", "", "directory with the webhook's tls.crt and tls.key, which are renewed externally; replaces --webhook-service")
	flags.BoolVar(&o.leaderElection, "leader-elect", false, "let only one of several replicas reconcile at a time")
	flags.StringVar(&o.leaderElectionNS, "leader-election-namespace", "", "namespace of the Lease")
	flags.StringVar(&o.leaderElectionID, "leader-election-id", "", "name of the Lease that the replicas of one operator share (default: derived from --shard-selector and --namespaces)")
	flags.DurationVar(&o.gracefulShutdown, "graceful-shutdown-timeout", 20*time.Second, "time to finish running work after a termination signal")
	flags.IntVar(&o.kubeAPIQPS, "kube-api-qps", 200, "maximum requests per second to the API server; -1 for no limit")
	flags.StringVar(&o.logFormat, "log-format", "json", "format of the log: json or text")
	flags.StringVar(&o.logLevel, "log-level", "info", "what to log: error, warn, info (everything done to the cluster) or debug (also what was decided, and why)")
	return cmd
}

// gcPercent collects garbage twice as often as Go's default: half as much garbage next to what the informers hold, for a tenth
// more processor time (docs/performance.md). GOGC in the environment takes precedence.
const gcPercent = 50

func run(ctx context.Context, o runOptions) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log, err := newLogger(os.Stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	ctrl.SetLogger(log)
	klog.SetLogger(log) // of client-go
	cfg, err := config.Load(o.config)
	if err != nil {
		return err
	}
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		return err
	}
	shard, err := labels.Parse(o.shardSelector)
	if err != nil {
		return fmt.Errorf("reading --shard-selector: %w", err)
	}
	if err := exposeShard(&log, shard); err != nil {
		return err
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("loading the Kubernetes client configuration: %w", err)
	}
	restConfig.QPS, restConfig.Burst = float32(o.kubeAPIQPS), max(1, o.kubeAPIQPS)
	restConfig.UserAgent = operatorName + "/" + version
	lease, err := newLease(restConfig, o)
	if err != nil {
		return err
	}
	mgr, err := newManager(o, restConfig, lease, log)
	if err != nil {
		return err
	}
	policyJudge := judge.New(renderer)
	changed, err := setupPolicies(ctx, mgr, policyJudge, renderer, cfg, o)
	if err != nil {
		return err
	}
	if err := controller.Setup(ctx, mgr, controller.Options{
		Renderer: renderer, Judge: policyJudge, RulesChanged: changed, Upgrades: cfg.Release, Shard: shard, Concurrency: o.concurrency,
		Metrics: release.NewMetrics(metrics.Registry),
	}); err != nil {
		return err
	}
	if err := setupWebhook(mgr, policyJudge, o); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the manager: %w", err) // the Lease expires instead of being released: work may still be running
	}
	return lease.release(context.WithoutCancel(ctx))
}

// exposeShard adds the shard to every log line and exports it as a metric.
func exposeShard(log *logr.Logger, shard labels.Selector) error {
	if shard.Empty() {
		return nil
	}
	*log = log.WithValues("shard", shard.String())
	ctrl.SetLogger(*log)
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jupyterserver_shard_info", Help: "The label selector of the servers that this operator reconciles.",
		ConstLabels: prometheus.Labels{"selector": shard.String()},
	}, func() float64 { return 1 })
	if err := metrics.Registry.Register(info); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// setupPolicies gives the judge the built-in policies and, if a namespace for them is set, those of ConfigMaps. The returned
// channel receives an event when they change; it is nil if they cannot.
func setupPolicies(ctx context.Context, mgr ctrl.Manager, policyJudge *judge.Judge, renderer *render.Renderer, cfg config.Config, o runOptions) (<-chan event.GenericEvent, error) {
	trials, err := judge.Samples(renderer)
	if err != nil {
		return nil, err
	}
	policyMetrics := policies.NewMetrics()
	if err := metrics.Registry.Register(policyMetrics); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	options := policies.Options{Config: cfg.Policies, Trials: trials, Metrics: policyMetrics}
	if o.policiesNamespace == "" {
		evaluator, err := policies.New(ctx, options)
		if err != nil {
			return nil, err
		}
		policyJudge.Use(evaluator)
		return nil, nil //nolint:nilnil // nothing changes
	}
	changed := make(chan event.GenericEvent, 1)
	loader, err := rules.New(mgr, rules.Options{Namespace: o.policiesNamespace, Judge: policyJudge, Policies: options, Changed: func() {
		select {
		case changed <- event.GenericEvent{Object: judge.NamespaceObject()}:
		default: // an event is pending already
		}
	}})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(mgr.Add(loader), mgr.AddReadyzCheck("rules", loader.Ready), metrics.Registry.Register(loader)); err != nil {
		return nil, fmt.Errorf("adding the rules of ConfigMaps: %w", err)
	}
	return changed, nil
}

func setupWebhook(mgr ctrl.Manager, policyJudge *judge.Judge, o runOptions) error {
	if o.webhookAddress == "0" {
		return nil
	}
	namespace, name, _ := strings.Cut(o.webhookService, "/")
	cluster := judge.Cluster{Informed: mgr.GetClient(), Live: mgr.GetAPIReader()}
	return webhook.Setup(mgr, webhook.Options{
		Handler:     &webhook.Handler{Judge: policyJudge, Cluster: webhook.Lookup{Namespace: cluster.Namespace, Routes: cluster.Routes}},
		BindAddress: o.webhookAddress,
		Service:     types.NamespacedName{Namespace: namespace, Name: name},
		CertDir:     o.webhookCertDir,
	})
}

func newManager(o runOptions, restConfig *rest.Config, lease *lease, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	cacheOptions := controller.CacheOptions()
	cacheOptions.DefaultNamespaces = namespaces(o.namespaces)
	metricsOptions := metricsserver.Options{BindAddress: o.metricsAddress}
	if o.metricsAuth {
		metricsOptions.SecureServing = true
		metricsOptions.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	options := ctrl.Options{
		Scheme:                  scheme,
		Logger:                  log,
		Cache:                   cacheOptions,
		Metrics:                 metricsOptions,
		HealthProbeBindAddress:  o.healthAddress,
		GracefulShutdownTimeout: &o.gracefulShutdown,
	}
	lease.applyTo(&options)
	mgr, err := ctrl.NewManager(restConfig, options)
	if err != nil {
		return nil, fmt.Errorf("creating the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding the health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("informers", informersReady(mgr)); err != nil {
		return nil, fmt.Errorf("adding the readiness check: %w", err)
	}
	return mgr, nil
}

func namespaces(names []string) map[string]cache.Config {
	if len(names) == 0 {
		return nil
	}
	out := map[string]cache.Config{}
	for _, name := range names {
		out[name] = cache.Config{}
	}
	return out
}
