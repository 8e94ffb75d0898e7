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

// DefaultTimeout is how long one evaluation may take. It takes about a millisecond.
const DefaultTimeout = time.Second

// ReasonPolicyError is the reason of every EvaluationError.
const ReasonPolicyError = "PolicyError"

// EvaluationError says that the policies gave no complete answer. It is neither a pass nor a refusal: change nothing.
type EvaluationError struct {
	// Err is why.
	Err error
}

// Error implements error.
func (e *EvaluationError) Error() string { return "evaluating the policies: " + e.Err.Error() }

// Unwrap returns why.
func (e *EvaluationError) Unwrap() error { return e.Err }

// Reason is ReasonPolicyError, for a condition.
func (e *EvaluationError) Reason() string { return ReasonPolicyError }

// ErrIncomplete is an answer without the sentinel: the input lacks a part that the rules look at.
var ErrIncomplete = errors.New("the answer is incomplete: the input lacks a part that the rules look at")

// Options say how policies are evaluated.
type Options struct {
	// Config is what the admin decides: Default, or what Parse returned.
	Config Config
	// Timeout is how long one evaluation may take. 0: DefaultTimeout.
	Timeout time.Duration
	// Sources are the admin's own rules, their tests and data.
	Sources []Source
	// Trials are inputs on which new rules are tried: each must have a complete answer, whatever it is.
	Trials []Input
	// Metrics are told what is evaluated, but for the trials. May be nil.
	Metrics *Metrics
}

// Evaluator asks the policies. It is safe for concurrent use.
type Evaluator struct {
	query      rego.PreparedEvalQuery
	custom     []customPackage
	sources    []string // of the admin's modules
	severities map[string]Rule
	settings   []settings
	exemptions []exemption
	names      names
	timeout    time.Duration
	metrics    *Metrics
	turns      chan struct{} // holds one for each evaluation that runs
}

// settings are the configuration for some namespaces, as the rules see it.
type settings struct {
	selector labels.Selector
	config   [][2]*ast.Term
}

// New compiles the policies once. A mistake in the Sources is a SourceErrors.
func New(ctx context.Context, options Options) (*Evaluator, error) {
	if err := options.Config.Validate(); err != nil {
		return nil, fmt.Errorf("the configuration of the policies: %w", err)
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
	if err := e.try(ctx, options.Trials); err != nil {
		return nil, err
	}
	e.metrics = options.Metrics
	return e, nil
}

func compile(ctx context.Context, modules map[string]*ast.Module, custom custom, options Options) (*Evaluator, error) {
	schema, err := inputSchema()
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithSchemas(schema).WithStrict(true)
	if compiler.Compile(custom.beside(modules)); compiler.Failed() {
		if mistakes := sourceErrors(compiler.Errors, custom.modules); mistakes != nil {
			return nil, mistakes
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
		turns:      make(chan struct{}, runtime.GOMAXPROCS(0)),
	}, nil
}

// settleAll are the settings of namespaces in their order, and then those of all others.
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

// settle returns the part of the input that is the same for many servers: the configuration, and what the rules make of it.
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

// try asks about the trials.
func (e *Evaluator) try(ctx context.Context, trials []Input) error {
	for _, trial := range trials {
		if _, err := e.Evaluate(ctx, trial); err != nil {
			return e.blame(err)
		}
	}
	return nil
}

// parseModules reads the embedded rules, without their tests.
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
		// The annotations are part of the rules: verdicts hold what they say.
		module, err := ast.ParseModuleWithOpts(entry.Name(), string(text), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			return nil, fmt.Errorf("reading the policies: %w", err)
		}
		modules[entry.Name()] = module
	}
	return modules, nil
}

// capabilities are those of this OPA without network, clock, chance and the surroundings of the process.
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

// Evaluate answers whether a server may be installed or updated. Every error is an *EvaluationError.
func (e *Evaluator) Evaluate(ctx context.Context, in Input) (Result, error) {
	// More at once than there are processors would make each of them slower and none earlier. The deadline is for the evaluation:
	// somebody's slow one is not to end those of others, which wait for it.
	select {
	case e.turns <- struct{}{}:
		defer func() { <-e.turns }()
	case <-ctx.Done():
		err := &EvaluationError{fmt.Errorf("waiting for %d others: %w", cap(e.turns), context.Cause(ctx))}
		e.metrics.observe(Result{}, err, 0)
		return Result{}, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	result, err := e.evaluate(ctx, in)
	e.metrics.observe(result, err, time.Since(start))
	return result, err
}

func (e *Evaluator) evaluate(ctx context.Context, in Input) (Result, error) {
	verdicts, err := e.judge(ctx, in)
	if err == nil {
		e.exempt(in, verdicts)
		verdicts, err = e.keepWhatWas(ctx, in, verdicts)
	}
	if err != nil {
		return Result{}, &EvaluationError{err}
	}
	order(verdicts)
	return Result{verdicts}, nil
}

// judge asks the rules once.
func (e *Evaluator) judge(ctx context.Context, in Input) (verdicts []Verdict, err error) {
	// A mistake in the evaluation of one input must not end the operator for all servers.
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
	if ctx.Err() != nil { // a short evaluation may end before it notices
		return nil, context.Cause(ctx)
	}
	if len(results) != 1 || results[0].Bindings["complete"] != true {
		return nil, e.incomplete()
	}
	verdicts, err = read(results[0].Bindings["verdicts"])
	if err != nil {
		return nil, err
	}
	for _, custom := range e.custom {
		more, err := custom.read(results[0].Bindings[custom.binding], e.severities)
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
	return nil // never: the last one takes all
}

// incomplete names the admin's packages as well, for a set of theirs may be undefined.
func (e *Evaluator) incomplete() error {
	if len(e.custom) == 0 {
		return ErrIncomplete
	}
	names := make([]string, len(e.custom))
	for i, custom := range e.custom {
		names[i] = custom.name + " (" + custom.source + ")"
	}
	return fmt.Errorf("%w, or verdicts are undefined in one of the admin's packages: %s", ErrIncomplete, strings.Join(names, ", "))
}
