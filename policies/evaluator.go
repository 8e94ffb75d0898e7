// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

//go:embed *.rego
var files embed.FS

// DefaultTimeout bounds one evaluation, which takes about a millisecond.
const DefaultTimeout = time.Second

// ReasonPolicyError is the reason of every EvaluationError.
const ReasonPolicyError = "PolicyError"

// EvaluationError means that there is no complete result. It neither allows nor denies a server: nothing may be changed.
type EvaluationError struct {
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *EvaluationError) Error() string { return "evaluating the policies: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *EvaluationError) Unwrap() error { return e.Err }

// Reason returns ReasonPolicyError, for a condition.
func (e *EvaluationError) Reason() string { return ReasonPolicyError }

// ErrIncomplete means that the sentinel is missing: the input lacks a part that the rules read.
var ErrIncomplete = errors.New("the result is incomplete: the input lacks a part that the rules read")

// Options configure an Evaluator.
type Options struct {
	// Config is the administrator's configuration, from Default or Parse.
	Config Config
	// Timeout bounds one evaluation. 0 means DefaultTimeout.
	Timeout time.Duration
	// Sources are custom rules, their tests and data.
	Sources []Source
	// Trials are inputs for a trial run of new rules: each must have a complete result, whatever it is.
	Trials []Input
	// Metrics record evaluations, except the trials. It may be nil.
	Metrics *Metrics
}

// Evaluator evaluates the policies. It is safe for concurrent use.
type Evaluator struct {
	query      rego.PreparedEvalQuery
	custom     []customPackage
	sources    []string // names of the custom modules
	severities map[string]Rule
	settings   []settings
	exemptions []exemption
	names      names
	timeout    time.Duration
	metrics    *Metrics
	slots      chan struct{} // one entry per running evaluation
}

// settings are the configuration for some namespaces, as part of the input.
type settings struct {
	selector labels.Selector
	config   [][2]*ast.Term
}

// New compiles the policies once. Errors in the Sources are SourceErrors.
func New(ctx context.Context, options Options) (*Evaluator, error) {
	if err := options.Config.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of the policies: %w", err)
	}
	modules, err := parseModules()
	if err != nil {
		return nil, err
	}
	custom, err := parseSources(options.Sources)
	if err != nil {
		return nil, err
	}
	e, err := compile(ctx, modules, custom, options)
	if err != nil {
		return nil, err
	}
	if err := custom.test(ctx, modules); err != nil {
		return nil, err
	}
	if err := e.runTrials(ctx, options.Trials); err != nil {
		return nil, err
	}
	e.metrics = options.Metrics
	return e, nil
}

func compile(ctx context.Context, modules map[string]*ast.Module, custom *custom, options Options) (*Evaluator, error) {
	schema, err := inputSchema()
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithSchemas(schema).WithStrict(true)
	if compiler.Compile(custom.withModules(modules)); compiler.Failed() {
		if errs := sourceErrors(compiler.Errors, custom.modules); errs != nil {
			return nil, errs
		}
		return nil, fmt.Errorf("compiling the policies: %w", compiler.Errors)
	}
	settings, err := settleAll(ctx, compiler, options.Config)
	if err != nil {
		return nil, fmt.Errorf("settling the configuration of the policies: %w", err)
	}
	exemptions, err := newExemptions(options.Config.Exemptions)
	if err != nil {
		return nil, err
	}
	prepared, err := rego.New(
		rego.Query(custom.query()), rego.Compiler(compiler), rego.Store(inmem.NewFromObject(custom.data)), rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing the policies: %w", err)
	}
	return &Evaluator{
		query:      prepared,
		custom:     custom.packages,
		sources:    slices.Sorted(maps.Keys(custom.modules)),
		severities: options.Config.Custom,
		settings:   settings,
		exemptions: exemptions,
		names:      namesIn(schema.Get(ast.SchemaRootRef)),
		timeout:    cmp.Or(options.Timeout, DefaultTimeout),
		slots:      make(chan struct{}, runtime.GOMAXPROCS(0)),
	}, nil
}

// settleAll returns the settings of the namespaces in order, followed by the settings of all others.
func settleAll(ctx context.Context, compiler *ast.Compiler, cfg Config) ([]settings, error) {
	var all []settings
	for _, entry := range cfg.Namespaces {
		selector, err := metav1.LabelSelectorAsSelector(&entry.Selector)
		if err != nil {
			return nil, err
		}
		rules, err := cfg.Rules.with(entry.Rules)
		if err != nil {
			return nil, err
		}
		config, err := settle(ctx, compiler, rules)
		if err != nil {
			return nil, err
		}
		all = append(all, settings{selector, config})
	}
	config, err := settle(ctx, compiler, cfg.Rules)
	return append(all, settings{labels.Everything(), config}), err
}

// settle returns the part of the input that many servers share: the configuration and the settings that the rules derive from it.
func settle(ctx context.Context, compiler *ast.Compiler, rules Rules) ([][2]*ast.Term, error) {
	config, err := valueOf(Config{Rules: rules})
	if err != nil {
		return nil, err
	}
	results, err := rego.New(
		rego.Query("settled = data.jupyterserver.admission.settled; data.jupyterserver.admission.readable_settings"),
		rego.Compiler(compiler), rego.StrictBuiltinErrors(true), rego.ParsedInput(ast.NewObject(field("config", config))),
	).Eval(ctx)
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, ErrIncomplete
	}
	settled, err := ast.InterfaceToValue(results[0].Bindings["settled"])
	if err != nil {
		return nil, err
	}
	return [][2]*ast.Term{field("config", config), field("settled", settled)}, nil
}

// runTrials evaluates the trials.
func (e *Evaluator) runTrials(ctx context.Context, trials []Input) error {
	for _, trial := range trials {
		if _, err := e.Evaluate(ctx, trial); err != nil {
			return e.attribute(err)
		}
	}
	return nil
}

// parseModules parses the embedded rules, without their tests.
func parseModules() (map[string]*ast.Module, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("reading the policies: %w", err)
	}
	modules := map[string]*ast.Module{}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), "_test.rego") {
			continue
		}
		text, err := files.ReadFile(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the policies: %w", err)
		}
		// Verdicts contain texts of the annotations.
		module, err := ast.ParseModuleWithOpts(entry.Name(), string(text), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			return nil, fmt.Errorf("reading the policies: %w", err)
		}
		modules[entry.Name()] = module
	}
	return modules, nil
}

// capabilities are those of this OPA without network, clock, randomness and the environment of the process.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.ContainsFunc([]string{"http.", "net.", "opa.", "rand.", "uuid."}, func(prefix string) bool {
			return strings.HasPrefix(b.Name, prefix)
		})
	})
	return c
}

// Evaluate returns the verdicts on the installation or update of a server. Every error is an *EvaluationError.
func (e *Evaluator) Evaluate(ctx context.Context, in Input) (Result, error) {
	// More concurrent evaluations than processors would make each slower and none faster. The deadline excludes the wait for a slot,
	// so that a slow evaluation does not fail those that wait for it.
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		err := &EvaluationError{fmt.Errorf("waiting for %d other evaluations: %w", cap(e.slots), context.Cause(ctx))}
		e.metrics.observe(Result{}, err, 0)
		return Result{}, err
	}
	start := time.Now() //nolint:forbidigo // for a metric; no verdict depends on it
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	result, err := e.evaluate(ctx, in)
	e.metrics.observe(result, err, time.Since(start)) //nolint:forbidigo // see above
	return result, err
}

func (e *Evaluator) evaluate(ctx context.Context, in Input) (Result, error) {
	verdicts, err := e.runRules(ctx, in)
	if err == nil {
		e.exempt(in, verdicts)
		verdicts, err = e.downgradeExisting(ctx, in, verdicts)
	}
	if err != nil {
		return Result{}, &EvaluationError{err}
	}
	sortVerdicts(verdicts)
	return Result{verdicts}, nil
}

// runRules evaluates the rules once.
func (e *Evaluator) runRules(ctx context.Context, in Input) (verdicts []Verdict, err error) {
	// A panic on one input must not end the operator for all servers.
	defer func() {
		if p := recover(); p != nil {
			verdicts, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	value, err := in.value(e.settingsOf(in.Namespace), e.names)
	if err != nil {
		return nil, fmt.Errorf("converting the input: %w", err)
	}
	results, err := e.query.Eval(ctx, rego.EvalParsedInput(value))
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	if ctx.Err() != nil { // a short evaluation may end without noticing
		return nil, context.Cause(ctx)
	}
	if len(results) != 1 || results[0].Bindings["complete"] != true {
		return nil, e.incomplete()
	}
	verdicts, err = decodeVerdicts(results[0].Bindings["verdicts"])
	if err != nil {
		return nil, err
	}
	for _, custom := range e.custom {
		more, err := custom.decode(results[0].Bindings[custom.binding], e.severities)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, more...)
	}
	return verdicts, nil
}

func (e *Evaluator) settingsOf(namespace Namespace) [][2]*ast.Term {
	for _, s := range e.settings {
		if s.selector.Matches(labels.Set(namespace.Labels)) {
			return s.config
		}
	}
	return nil // unreachable: the last selector matches everything
}

// incomplete also names the custom packages, because their verdicts may be undefined.
func (e *Evaluator) incomplete() error {
	if len(e.custom) == 0 {
		return ErrIncomplete
	}
	names := make([]string, len(e.custom))
	for i, custom := range e.custom {
		names[i] = custom.name + " (" + custom.source + ")"
	}
	return fmt.Errorf("%w, or verdicts is undefined in a custom package: %s", ErrIncomplete, strings.Join(names, ", "))
}
