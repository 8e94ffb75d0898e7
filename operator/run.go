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
	"k8s.io/klog/v2/textlogger"
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

// operatorName is how the operator calls itself.
const operatorName = "jupyter-server-operator"

// runOptions are the settings of the process. What the admin decides about servers is in the configuration file.
type runOptions struct {
	config                string
	namespaces            []string
	shardSelector         string
	concurrency           int
	metricsAddress        string
	metricsAuth           bool
	healthAddress         string
	policiesNamespace     string
	webhookAddress        string
	webhookService        string
	webhookCertDir        string
	leaderElection        bool
	leaderElectionNS      string
	leaderElectionID      string
	gracefulShutdown      time.Duration
	kubeAPIQPS, verbosity int
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
	flags.StringVar(&o.config, "config", "", "configuration file; without it the defaults hold")
	flags.StringSliceVar(&o.namespaces, "namespaces", nil, "namespaces to watch, separated by commas; without it all")
	flags.StringVar(&o.shardSelector, "shard-selector", "", "label selector of the JupyterServers to work on, such as shard=a or 'shard notin (a,b)'; without it all. The others are looked at only")
	flags.IntVar(&o.concurrency, "concurrency", 8, "how many servers are worked on at once")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "address of /metrics; 0 turns it off")
	flags.BoolVar(&o.metricsAuth, "metrics-auth", false, "serve /metrics over https, to those whom the API server lets get it")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 turns it off")
	flags.StringVar(&o.policiesNamespace, "policies-namespace", "", "namespace of the ConfigMaps with rules of your own, which only admins may write to; without it there are none")
	flags.StringVar(&o.webhookAddress, "webhook-bind-address", "0", "address of the admission webhook, such as :9443; 0 turns it off")
	flags.StringVar(&o.webhookService, "webhook-service", "", "NAMESPACE/NAME of the webhook's Service; a Secret and a ValidatingWebhookConfiguration of the same name get the certificate that the operator makes and renews")
	flags.StringVar(&o.webhookCertDir, "webhook-cert-dir", "", "directory with tls.crt and tls.key for the webhook, which somebody else renews; instead of --webhook-service")
	flags.BoolVar(&o.leaderElection, "leader-elect", false, "let one of several replicas work at a time")
	flags.StringVar(&o.leaderElectionNS, "leader-election-namespace", "", "namespace of the lease")
	flags.StringVar(&o.leaderElectionID, "leader-election-id", "", "name of the lease, which the replicas of one operator share; without it one that follows from --shard-selector and --namespaces")
	flags.DurationVar(&o.gracefulShutdown, "graceful-shutdown-timeout", 20*time.Second, "how long work under way may take after a signal")
	flags.IntVar(&o.kubeAPIQPS, "kube-api-qps", 200, "requests a second to the API server, at most; -1 for no limit")
	flags.IntVar(&o.verbosity, "v", 0, "log level: 0 is quiet, 4 is chatty")
	return cmd
}

// gcPercent has garbage collected twice as often as Go does by itself: half as much of it lies around beside what the informers hold,
// for a tenth more of processor time (docs/performance.md). GOGC in the environment goes before it.
const gcPercent = 50

func run(ctx context.Context, o runOptions) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(o.verbosity)))
	ctrl.SetLogger(log)
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
	if err := tellShard(&log, shard); err != nil {
		return err
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding a cluster: %w", err)
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
	asked := judge.New(renderer)
	changed, err := setupPolicies(ctx, mgr, asked, renderer, cfg, o)
	if err != nil {
		return err
	}
	releaseMetrics := release.NewMetrics()
	if err := metrics.Registry.Register(releaseMetrics); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if err := controller.Setup(ctx, mgr, controller.Options{
		Renderer: renderer, Judge: asked, RulesChanged: changed, Upgrades: cfg.Release, Shard: shard, Concurrency: o.concurrency, Metrics: releaseMetrics,
	}); err != nil {
		return err
	}
	if err := setupWebhook(mgr, asked, o); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the manager: %w", err) // the lease runs out: something may be under way
	}
	return lease.giveUp(context.WithoutCancel(ctx))
}

// tellShard puts the shard into all lines of the log, and into a metric.
func tellShard(log *logr.Logger, shard labels.Selector) error {
	if shard.Empty() {
		return nil
	}
	*log = log.WithValues("shard", shard.String())
	ctrl.SetLogger(*log)
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jupyterserver_shard_info", Help: "The label selector of the servers that this operator works on.",
		ConstLabels: prometheus.Labels{"selector": shard.String()},
	}, func() float64 { return 1 })
	if err := metrics.Registry.Register(info); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// setupPolicies tells the judge which policies hold: the built-in ones, and, where it is said in which namespace to look, those of
// ConfigMaps. What it returns tells when they change.
func setupPolicies(ctx context.Context, mgr ctrl.Manager, asked *judge.Judge, renderer *render.Renderer, cfg config.Config, o runOptions) (<-chan event.GenericEvent, error) {
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
		asked.Use(evaluator)
		return nil, nil
	}
	changed := make(chan event.GenericEvent, 1)
	loader, err := rules.New(mgr, rules.Options{Namespace: o.policiesNamespace, Judge: asked, Policies: options, Changed: func() {
		select {
		case changed <- event.GenericEvent{Object: judge.NamespaceObject()}:
		default: // it will be looked at anyway
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

func setupWebhook(mgr ctrl.Manager, asked *judge.Judge, o runOptions) error {
	if o.webhookAddress == "0" {
		return nil
	}
	namespace, name, _ := strings.Cut(o.webhookService, "/")
	cluster := judge.Cluster{Informed: mgr.GetClient(), Live: mgr.GetAPIReader()}
	return webhook.Setup(mgr, webhook.Options{
		Handler:     &webhook.Handler{Judge: asked, Cluster: webhook.Lookup{Namespace: cluster.Namespace, Routes: cluster.Routes}},
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
	lease.elect(&options)
	mgr, err := ctrl.NewManager(restConfig, options)
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
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
