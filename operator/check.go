package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
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
	files                                    []string
	config, policies, namespace, outputStyle string
}

func newCheckCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check -f FILE",
		Short: "Judge JupyterServers by the policies, without a cluster",
		Long: `Judge the JupyterServers of files, and what they render to, by the policies. No cluster is needed: servers of other files are
not known, nor labels of namespaces.

It ends with 0 when no rule refuses a server, 1 when one does, and 2 when that could not be told.`,
		Example: "  jupyter-server-operator check -f examples/token.yaml\n  jupyter-server-operator check -f alice.yaml -f bob.yaml --policies policies.yaml -o json",
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
	cmd.Flags().StringSliceVarP(&o.files, "filename", "f", nil, "file with JupyterServers; - is the standard input")
	cmd.Flags().StringVar(&o.config, "config", "", "configuration file of the operator; without it the defaults hold")
	cmd.Flags().StringVar(&o.policies, "policies", "", "file with the settings of the rules; without it the defaults hold")
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "default", "namespace of servers that name none")
	cmd.Flags().StringVarP(&o.outputStyle, "output", "o", "table", "table or json")
	// A call that is wrong is no refusal: scripts tell them apart.
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitNotEvaluated, err} })
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &exitError{exitNotEvaluated, fmt.Errorf("%q is not expected: name files with -f", args[0])}
		}
		return nil
	}
	return cmd
}

// judged is one server and what the rules say of it.
type judged struct {
	Namespace string             `json:"namespace"`
	Name      string             `json:"name"`
	Denied    bool               `json:"denied"`
	Verdicts  []policies.Verdict `json:"verdicts"`
}

func check(ctx context.Context, out io.Writer, stdin io.Reader, o checkOptions) error {
	if len(o.files) == 0 {
		return errors.New("nothing to judge: name files with -f")
	}
	write, known := map[string]func(io.Writer, []judged) error{"table": writeTable, "json": writeJSON}[o.outputStyle]
	if !known {
		return fmt.Errorf("--output %q is neither table nor json", o.outputStyle)
	}
	judge, err := newJudge(ctx, o)
	if err != nil {
		return err
	}
	servers, err := readServers(ctx, stdin, o)
	if err != nil {
		return err
	}
	results, err := judge.all(ctx, servers)
	if err != nil {
		return err
	}
	if err := write(out, results); err != nil {
		return err
	}
	for _, result := range results {
		if result.Denied {
			return errDenied
		}
	}
	return nil
}

func readServers(ctx context.Context, stdin io.Reader, o checkOptions) ([]*v1alpha1.JupyterServer, error) {
	reader, err := schema.NewReader()
	if err != nil {
		return nil, err
	}
	var servers []*v1alpha1.JupyterServer
	for _, file := range o.files {
		more, err := readFile(ctx, reader, stdin, o.namespace, file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		servers = append(servers, more...)
	}
	return servers, nil
}

// judge renders servers and asks the rules.
type judge struct {
	renderer  *render.Renderer
	evaluator *policies.Evaluator
}

func newJudge(ctx context.Context, o checkOptions) (judge, error) {
	cfg, err := config.Load(o.config)
	if err != nil {
		return judge{}, err
	}
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		return judge{}, err
	}
	settings, err := loadPolicies(o.policies)
	if err != nil {
		return judge{}, err
	}
	evaluator, err := policies.New(ctx, policies.Options{Config: settings})
	return judge{renderer, evaluator}, err
}

func loadPolicies(file string) (policies.Config, error) {
	if file == "" {
		return policies.Default(), nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return policies.Config{}, fmt.Errorf("reading the settings of the policies: %w", err)
	}
	settings, err := policies.Parse(raw)
	if err != nil {
		return policies.Config{}, fmt.Errorf("reading the settings of the policies %s: %w", file, err)
	}
	return settings, nil
}

// all judges servers, each with the routes of the others.
func (j judge) all(ctx context.Context, servers []*v1alpha1.JupyterServer) ([]judged, error) {
	var routes []policies.Route
	for _, s := range servers {
		routes = append(routes, policies.Route{Namespace: s.Namespace, Name: s.Name, Host: s.Spec.Routing.Host, Path: s.Spec.Routing.Path})
	}
	results := make([]judged, 0, len(servers))
	for _, server := range servers {
		result, err := j.one(ctx, server, routes)
		if err != nil {
			return nil, fmt.Errorf("judging the JupyterServer %s: %w", server.Name, err)
		}
		results = append(results, judged{server.Namespace, server.Name, result.Denied(), result.Verdicts})
	}
	return results, nil
}

func (j judge) one(ctx context.Context, server *v1alpha1.JupyterServer, routes []policies.Route) (policies.Result, error) {
	objects, err := j.objects(server)
	if err != nil {
		return policies.Result{}, err
	}
	expected := objects
	if len(server.Spec.Patches) > 0 {
		unpatched := server.DeepCopy()
		unpatched.Spec.Patches = nil
		if expected, err = j.objects(unpatched); err != nil {
			return policies.Result{}, err
		}
	}
	return j.evaluator.Evaluate(ctx, policies.Input{
		Operation: policies.Create,
		Object:    server,
		Namespace: policies.Namespace{Name: server.Namespace},
		Objects:   objects,
		Expected:  expected,
		Routes:    routes,
	})
}

func (j judge) objects(server *v1alpha1.JupyterServer) ([]*unstructured.Unstructured, error) {
	rendered, err := j.renderer.Render(server, render.References{})
	if err != nil {
		return nil, err
	}
	return rendered.Objects, nil
}

func writeJSON(out io.Writer, results []judged) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(results)
}

func writeTable(out io.Writer, results []judged) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "SERVER\tSEVERITY\tRULE\tPATH\tMESSAGE")
	for _, result := range results {
		server := result.Namespace + "/" + result.Name
		for _, v := range result.Verdicts {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s. %s\n", server, v.Severity, v.ID, v.Path, v.Message, v.Remediation)
		}
		if len(result.Verdicts) == 0 {
			fmt.Fprintf(table, "%s\tcompliant\t\t\t\n", server)
		}
	}
	return table.Flush()
}
