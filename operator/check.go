// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	kubeconfig "sigs.k8s.io/controller-runtime/pkg/client/config"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/report"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Exit codes of check beside 0, which means that nothing is denied.
const (
	exitDenied       = 1
	exitNotEvaluated = 2
)

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// errDenied says that a rule refuses a server.
var errDenied = errors.New("a rule refuses at least one server")

// checkOptions are the flags of check.
type checkOptions struct {
	files     []string
	namespace string

	all        bool
	namespaces []string
	context    string

	config            string
	policies          string
	policiesNamespace string
	output            string
}

func newCheckCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check {-f FILE | --all}",
		Short: "Judge JupyterServers by the policies, in files or in a cluster",
		Long: `Judge JupyterServers, and what they render to, by the policies: those of files (-f), or those of a cluster (--all).

With -f no cluster is needed. Servers of other files are not known, and of namespaces only those that the files hold: rules and
settings that look at labels of namespaces find them in documents of kind Namespace.

With --all every server is judged as if it were new, by these settings and rules, which need not be those that the operator of
the cluster has: so it can be seen what a rule would refuse before it is rolled out. Nothing is written to the cluster. It needs
the right to list jupyterservers and namespaces; with --namespaces, to list jupyterservers in these and to get these. Servers
of other namespaces are not known then. Of two servers at one URL both are refused; the operator refuses the one that came later.

The settings of the built-in rules are the section policies of the operator's configuration (--config). Rules of your own are in
the files .rego, and their data in the files .yaml, .yml and .json, of the folder --policies and those below it. Manifests of
ConfigMaps with the label jupyterserver.dev/policies: "true" may stand there, too: each of their keys is such a file. Other
manifests of Kubernetes are an error there, other files are passed over.

It ends with
  0  when no rule refuses a server; warnings, and verdicts of rules on trial (audit) or set aside (exempt), do not count
  1  when a rule refuses a server
  2  when the answer is not known for all: a wrong flag, file, setting or rule, a server that does not render. The other servers
     are judged nevertheless and are in the output, unless the settings or the rules are what is wrong.

The output sarif is for what shows findings beside the code, junit for what shows results of tests, json for other programs.`,
		Example: `  jupyter-server-operator check -f examples/token.yaml
  jupyter-server-operator check -f alice.yaml -f bob.yaml --config operator.yaml --policies rules -o sarif > check.sarif
  jupyter-server-operator check --all --policies rules
  jupyter-server-operator check --all --policies-namespace jupyter-server-operator`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := check(cmd.Context(), cmd.OutOrStdout(), cmd.InOrStdin(), o)
			switch {
			case errors.Is(err, errDenied):
				return &exitError{exitDenied, err}
			case err != nil:
				return &exitError{exitNotEvaluated, err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&o.files, "filename", "f", nil, "file with JupyterServers; - is the standard input")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of servers in files that name none")
	flags.BoolVar(&o.all, "all", false, "judge the JupyterServers of a cluster")
	flags.StringSliceVar(&o.namespaces, "namespaces", nil, "with --all: only those of these namespaces, separated by commas")
	flags.StringVar(&o.context, "context", "", "with --all: context of the kubeconfig; without it the current one")
	flags.StringVar(&o.policiesNamespace, "policies-namespace", "", "with --all: namespace of the cluster with the ConfigMaps of your own rules")
	flags.StringVar(&o.config, "config", "", "configuration file of the operator; without it the defaults hold")
	flags.StringVar(&o.policies, "policies", "", "folder, or one file, with rules of your own")
	flags.StringVarP(&o.output, "output", "o", "table", "table, json, sarif or junit")
	fromController := flag.NewFlagSet("", flag.ContinueOnError)
	kubeconfig.RegisterFlags(fromController)
	flags.AddGoFlagSet(fromController)
	flags.Lookup(kubeconfig.KubeconfigFlagName).Usage = "with --all: kubeconfig file; without it $KUBECONFIG, then the cluster that this runs in, then ~/.kube/config"
	// A call that is wrong is no refusal: scripts tell them apart.
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitNotEvaluated, err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &exitError{exitNotEvaluated, fmt.Errorf("%q is not expected: name files with -f", args[0])}
		}
		if err := o.validate(func(flag string) bool { return cmd.Flags().Changed(flag) }); err != nil {
			return &exitError{exitNotEvaluated, err}
		}
		return nil
	}
	return cmd
}

// validate refuses flags that would have no effect: who gives them expects one.
func (o checkOptions) validate(given func(flag string) bool) error {
	if o.all == (len(o.files) > 0) {
		if o.all {
			return errors.New("-f and --all do not go together: judge files or a cluster")
		}
		return errors.New("nothing to judge: name files with -f, or judge a cluster with --all")
	}
	for _, flag := range []string{"namespaces", "context", kubeconfig.KubeconfigFlagName, "policies-namespace"} {
		if !o.all && given(flag) {
			return fmt.Errorf("--%s is for --all", flag)
		}
	}
	if o.all && given("namespace") {
		return errors.New("--namespace is for files: with --all choose with --namespaces")
	}
	if o.policies != "" && o.policiesNamespace != "" {
		return errors.New("--policies and --policies-namespace do not go together: take the rules of files or those of the cluster")
	}
	return nil
}

func check(ctx context.Context, out io.Writer, stdin io.Reader, o checkOptions) error {
	write, err := report.Format(o.output)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	cfg, err := config.Load(o.config)
	if err != nil {
		return err
	}
	var found world
	var rules ruleFiles
	if o.all {
		found, rules, err = readCluster(ctx, o)
	} else {
		found, err = readFiles(ctx, stdin, o)
	}
	if err == nil && o.policies != "" {
		rules, err = readRules(o.policies)
	}
	if err != nil {
		return err
	}
	asked, err := newJudge(ctx, cfg, rules)
	if err != nil {
		return err
	}
	catalog, err := policies.Catalog()
	if err != nil {
		return err
	}
	result := report.Report{Version: version, Rules: catalog, Servers: judgeAll(ctx, asked, found)}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("judging was broken off: %w", err)
	}
	if err := write(out, result); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return outcome(result)
}

func newJudge(ctx context.Context, cfg config.Config, rules ruleFiles) (*judge.Judge, error) {
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		return nil, err
	}
	trials, err := judge.Samples(renderer)
	if err != nil {
		return nil, err
	}
	evaluator, err := policies.New(ctx, policies.Options{Config: cfg.Policies, Sources: rules.sources(), Trials: trials})
	if err != nil {
		return nil, rules.located(err)
	}
	j := judge.New(renderer)
	j.Use(evaluator)
	return j, nil
}

// world is what is judged, and what has to be known for it.
type world struct {
	candidates []candidate
	// namespaces are those of which something is known.
	namespaces map[string]policies.Namespace
}

// candidate is a server that is to be judged.
type candidate struct {
	// found is what is known before the rules are asked, with an error where they cannot be.
	found report.Server
	// server is nil where found has an error.
	server *v1alpha1.JupyterServer
	// lines knows the lines of the server's document. May be nil.
	lines *report.Document
}

// judgeAll judges servers, each with the routes of the others. The order stays.
func judgeAll(ctx context.Context, asked *judge.Judge, w world) []report.Server {
	routes := w.routes()
	results := make([]report.Server, len(w.candidates))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(results)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(results) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				results[i] = w.candidates[i].judge(ctx, asked, w.namespaces, routes)
			}
		})
	}
	workers.Wait()
	return results
}

func (c candidate) judge(ctx context.Context, asked *judge.Judge, namespaces map[string]policies.Namespace, routes routesByHost) report.Server {
	result := c.found
	if result.Err != nil {
		return result
	}
	namespace := namespaces[c.server.Namespace]
	namespace.Name = c.server.Namespace
	answer, err := asked.Ask(ctx, judge.Case{Operation: policies.Create, Server: c.server, Namespace: namespace, Routes: routes.near})
	if err != nil {
		result.Err = err
		return result
	}
	for _, verdict := range answer.Verdicts {
		v := report.Verdict{Verdict: verdict}
		if c.lines != nil {
			v.Line = c.lines.Line(verdict.Path)
		}
		result.Verdicts = append(result.Verdicts, v)
	}
	return result
}

// routesByHost are the routes of all servers, by their hosts in lower case.
type routesByHost map[string][]policies.Route

func (w world) routes() routesByHost {
	routes := routesByHost{}
	for _, c := range w.candidates {
		if s := c.server; s != nil {
			host := strings.ToLower(s.Spec.Routing.Host)
			routes[host] = append(routes[host], policies.Route{Namespace: s.Namespace, Name: s.Name, Host: s.Spec.Routing.Host, Path: s.Spec.Routing.Path})
		}
	}
	return routes
}

// near are the routes of the hosts at which a server is reached.
func (r routesByHost) near(_ context.Context, own []policies.Route) ([]policies.Route, error) {
	var near []policies.Route
	seen := map[string]bool{}
	for _, route := range own {
		if host := strings.ToLower(route.Host); !seen[host] {
			seen[host] = true
			near = append(near, r[host]...)
		}
	}
	return near, nil
}

// outcome is how the command ends. What is not known weighs more than what is refused.
func outcome(result report.Report) error {
	var unknown []string
	for _, server := range result.Servers {
		if server.Err == nil {
			continue
		}
		title := server.Title()
		if server.Name != "" && server.File != "" {
			title = server.File + ": " + title
		}
		unknown = append(unknown, report.Plain(fmt.Sprintf("%s: %v", title, server.Err)))
	}
	switch {
	case len(unknown) > 0:
		return errors.New("could not be judged: " + strings.Join(unknown, "\n"))
	case result.Count(report.Denied) > 0:
		return errDenied
	}
	return nil
}
