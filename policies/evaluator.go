package policies

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

//go:embed *.rego
var files embed.FS

// query asks for the verdicts and for the sentinel, without which they mean nothing.
const query = "verdicts = data.jupyterserver.admission.verdicts; complete = data.jupyterserver.admission.complete"

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

// Verdict is what one rule says of one place.
type Verdict struct {
	// ID is the rule.
	ID string `json:"id"`
	// Severity is deny or warn.
	Severity Severity `json:"severity"`
	// Message says what was found, and what is allowed.
	Message string `json:"message"`
	// Path is a field of the JupyterServer (spec.jupyterServer.image), or of a rendered object (StatefulSet/alice: spec...).
	Path string `json:"path"`
	// Remediation says what to do.
	Remediation string `json:"remediation"`

	// excess is how far a bound is passed, 0 where there is none.
	excess float64
}

// Result is a complete answer.
type Result struct {
	// Verdicts are sorted: refusals first, then by rule, path and message.
	Verdicts []Verdict `json:"verdicts"`
}

// Denied says whether the server is refused.
func (r Result) Denied() bool { return len(r.Denials()) > 0 }

// Denials are the verdicts that refuse the server.
func (r Result) Denials() []Verdict { return r.of(Deny) }

// Warnings are the verdicts that only tell.
func (r Result) Warnings() []Verdict { return r.of(Warn) }

func (r Result) of(severity Severity) []Verdict {
	var out []Verdict
	for _, v := range r.Verdicts {
		if v.Severity == severity {
			out = append(out, v)
		}
	}
	return out
}

// Options say how policies are evaluated.
type Options struct {
	// Config is what the admin decides: Default, or what Parse returned.
	Config Config
	// Timeout is how long one evaluation may take. 0: DefaultTimeout.
	Timeout time.Duration
}

// Evaluator asks the policies. It is safe for concurrent use.
type Evaluator struct {
	query   rego.PreparedEvalQuery
	config  [][2]*ast.Term
	timeout time.Duration
}

// New compiles the policies once.
func New(ctx context.Context, options Options) (*Evaluator, error) {
	if err := options.Config.Validate(); err != nil {
		return nil, fmt.Errorf("the configuration of the policies: %w", err)
	}
	modules, err := parseModules()
	if err != nil {
		return nil, err
	}
	return compile(ctx, modules, options)
}

func compile(ctx context.Context, modules map[string]*ast.Module, options Options) (*Evaluator, error) {
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
	if compiler.Compile(modules); compiler.Failed() {
		return nil, fmt.Errorf("compiling the policies: %w", compiler.Errors)
	}
	config, err := settle(ctx, compiler, options.Config)
	if err != nil {
		return nil, fmt.Errorf("settling the configuration of the policies: %w", err)
	}
	prepared, err := rego.New(rego.Query(query), rego.Compiler(compiler), rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing the policies: %w", err)
	}
	timeout := options.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &Evaluator{query: prepared, config: config, timeout: timeout}, nil
}

// settle returns the part of the input that is the same for all servers: the configuration, and what the rules make of it.
func settle(ctx context.Context, compiler *ast.Compiler, cfg Config) ([][2]*ast.Term, error) {
	config, err := valueOf(cfg)
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
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	verdicts, err := e.judge(ctx, in)
	if err == nil {
		verdicts, err = e.keepWhatWas(ctx, in, verdicts)
	}
	if err != nil {
		return Result{}, &EvaluationError{err}
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message), cmp.Compare(a.Remediation, b.Remediation),
		)
	})
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
	value, err := in.value(e.config)
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
		return nil, ErrIncomplete
	}
	return read(results[0].Bindings["verdicts"])
}

// read takes verdicts of exactly the shape that rules must give.
func read(answer any) ([]Verdict, error) {
	list, ok := answer.([]any)
	if !ok {
		return nil, fmt.Errorf("the verdicts are %T, but must be a set", answer)
	}
	verdicts := make([]Verdict, 0, len(list))
	for _, item := range list {
		verdict, err := readOne(item)
		if err != nil {
			return nil, fmt.Errorf("a verdict: %w", err)
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}

func readOne(item any) (Verdict, error) {
	raw, err := json.Marshal(item)
	if err != nil {
		return Verdict{}, err
	}
	var v struct {
		Verdict
		Excess float64 `json:"excess"`
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		return Verdict{}, err
	}
	if v.ID == "" || v.Message == "" || v.Path == "" || v.Severity != Deny && v.Severity != Warn {
		return Verdict{}, fmt.Errorf("%s lacks id, message, path, or a severity of deny or warn", raw)
	}
	v.excess = v.Excess
	v.Message, v.Path = oneLine(v.Message), oneLine(v.Path)
	return v.Verdict, nil
}

// maxText is what a message may have. It goes into answers of the API server, conditions and logs.
const maxText = 1024

// oneLine keeps a spec from writing lines of its own into somebody's log.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "..."
}
