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

// Exit codes of check. 0 means that no server is denied.
const (
	exitDenied       = 1
	exitNotEvaluated = 2
)

// exitError ends the program with its own exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// errDenied means that a rule denies at least one server.
var errDenied = errors.New("policy violations found")

// checkOptions are the flags of check.
type checkOptions struct {
	files     sources
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
		Short: "Check JupyterServers in files or in a cluster against the policies",
		Long: `Check JupyterServers, and the objects that they render to, against the policies: servers in files (-f) or in a cluster (--all).

With -f no cluster is needed. Only the servers and namespaces in the files are known: rules and settings that match namespace
labels read them from documents of kind Namespace.

With --all every server is checked as if it were new, against these settings and rules, which may differ from those of the
cluster's operator. This shows what a rule would deny before you roll it out. Nothing is written to the cluster. It needs
permission to list jupyterservers and namespaces; with --namespaces, to list jupyterservers in those namespaces and to get the
namespaces. Servers in other namespaces are then unknown. Of two servers at one URL both are denied; the operator denies the
later one.

The settings of the built-in rules are the section policies of the operator's configuration (--config). Custom rules are the
.rego files, and their data the .yaml, .yml and .json files, in the folder --policies and its subfolders. Manifests of
ConfigMaps with the label jupyterserver.dev/policies: "true" are read, too: each of their keys is such a file. Other manifests
of Kubernetes are an error, other files are ignored.

Exit codes:
  0  no rule denies a server; warnings, and verdicts of rules in audit mode or with an exemption, do not count
  1  a rule denies a server
  2  some servers could not be evaluated: a wrong flag, file, setting or rule, or a server that does not render. The others
     are still evaluated and reported, unless the settings or the rules are wrong.

The output format sarif is for code scanning, junit for test reports, json for other programs.`,
		Example: `  jupyter-server-operator check -f examples/token.yaml
  kubectl get jupyterservers -A -o yaml | jupyter-server-operator check -f -
  jupyter-server-operator check -R -f servers --policies rules
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
	o.files.addFlags(flags)
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of servers in files that do not set one")
	flags.BoolVar(&o.all, "all", false, "check the JupyterServers of a cluster")
	flags.StringSliceVar(&o.namespaces, "namespaces", nil, "with --all: only servers in these namespaces, comma-separated (default: all)")
	flags.StringVar(&o.context, "context", "", "with --all: kubeconfig context (default: the current one)")
	flags.StringVar(&o.policiesNamespace, "policies-namespace", "", "with --all: namespace in the cluster of the ConfigMaps with custom rules")
	flags.StringVar(&o.config, "config", "", "configuration file of the operator (default: built-in settings)")
	flags.StringVar(&o.policies, "policies", "", "folder or file with custom rules")
	flags.StringVarP(&o.output, "output", "o", "table", "output format: table, json, sarif or junit")
	fromController := flag.NewFlagSet("", flag.ContinueOnError)
	kubeconfig.RegisterFlags(fromController)
	flags.AddGoFlagSet(fromController)
	flags.Lookup(kubeconfig.KubeconfigFlagName).Usage = "with --all: kubeconfig file (default: $KUBECONFIG, then the cluster that this runs in, then ~/.kube/config)"
	// A wrong command line is not a denial: scripts distinguish the two.
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitNotEvaluated, err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &exitError{exitNotEvaluated, fmt.Errorf("unexpected argument %q: pass files with -f", args[0])}
		}
		if err := o.validate(func(flag string) bool { return cmd.Flags().Changed(flag) }); err != nil {
			return &exitError{exitNotEvaluated, err}
		}
		return nil
	}
	return cmd
}

// validate rejects flags that would have no effect.
func (o checkOptions) validate(given func(flag string) bool) error {
	if o.all == (len(o.files.names) > 0) {
		if o.all {
			return errors.New("-f and --all cannot be combined: check either files or a cluster")
		}
		return errors.New("nothing to check: pass files with -f, or check a cluster with --all")
	}
	for _, flag := range []string{"namespaces", "context", kubeconfig.KubeconfigFlagName, "policies-namespace"} {
		if !o.all && given(flag) {
			return fmt.Errorf("--%s requires --all", flag)
		}
	}
	if o.all && given("namespace") {
		return errors.New("--namespace applies to files: with --all use --namespaces")
	}
	if o.all && given("recursive") {
		return errors.New("--recursive applies to folders of -f")
	}
	if o.policies != "" && o.policiesNamespace != "" {
		return errors.New("--policies and --policies-namespace cannot be combined: use the rules of files or those of the cluster")
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
	var found inventory
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
	policyJudge, err := newJudge(ctx, cfg, rules)
	if err != nil {
		return err
	}
	catalog, err := policies.Catalog()
	if err != nil {
		return err
	}
	result := report.Report{Version: version, Rules: catalog, Servers: evaluateAll(ctx, policyJudge, found)}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the check was interrupted: %w", err)
	}
	if err := write(out, result); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return resultError(result)
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

// inventory holds the servers to check and the namespaces that rules and settings may refer to.
type inventory struct {
	candidates []candidate
	// namespaces are the known namespaces, by name.
	namespaces map[string]policies.Namespace
}

// candidate is a server to check.
type candidate struct {
	// found is the result as known before the evaluation. Its error means that the server cannot be evaluated.
	found report.Server
	// server is nil if found has an error.
	server *v1alpha1.JupyterServer
	// lines finds lines in the server's document. It may be nil.
	lines *report.Document
}

// evaluateAll evaluates all servers, each with the routes of the others, and returns the results in the same order.
func evaluateAll(ctx context.Context, policyJudge *judge.Judge, inv inventory) []report.Server {
	routes := inv.routes()
	results := make([]report.Server, len(inv.candidates))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(results)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(results) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				results[i] = inv.candidates[i].evaluate(ctx, policyJudge, inv.namespaces, routes)
			}
		})
	}
	workers.Wait()
	return results
}

func (c candidate) evaluate(ctx context.Context, policyJudge *judge.Judge, namespaces map[string]policies.Namespace, routes routesByHost) report.Server {
	result := c.found
	if result.Err != nil {
		return result
	}
	namespace := namespaces[c.server.Namespace]
	namespace.Name = c.server.Namespace
	answer, err := policyJudge.Ask(ctx, judge.Case{Operation: policies.Create, Server: c.server, Namespace: namespace, Routes: routes.onHostsOf})
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

// routesByHost holds the routes of all servers by host in lower case.
type routesByHost map[string][]policies.Route

func (inv inventory) routes() routesByHost {
	routes := routesByHost{}
	for _, c := range inv.candidates {
		if s := c.server; s != nil {
			host := strings.ToLower(s.Spec.Routing.Host)
			routes[host] = append(routes[host], policies.Route{Namespace: s.Namespace, Name: s.Name, Host: s.Spec.Routing.Host, Path: s.Spec.Routing.Path})
		}
	}
	return routes
}

// onHostsOf returns the routes on the same hosts as own.
func (r routesByHost) onHostsOf(_ context.Context, own []policies.Route) ([]policies.Route, error) {
	var routes []policies.Route
	seen := map[string]bool{}
	for _, route := range own {
		if host := strings.ToLower(route.Host); !seen[host] {
			seen[host] = true
			routes = append(routes, r[host]...)
		}
	}
	return routes, nil
}

// resultError maps a result to the error that the command ends with. Unevaluated servers outweigh denied ones.
func resultError(result report.Report) error {
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
		return errors.New("could not be evaluated: " + strings.Join(unknown, "\n"))
	case result.Count(report.Denied) > 0:
		return errDenied
	}
	return nil
}
