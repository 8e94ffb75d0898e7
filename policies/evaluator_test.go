package policies_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// renderer and reader take a moment to make.
var (
	newRenderer = sync.OnceValues(func() (*render.Renderer, error) { return render.New(chart.Files, config.Default()) })
	newReader   = sync.OnceValues(schema.NewReader)
)

// read is the server of a file, as the API server stores it.
func read(t testing.TB, text string) *v1alpha1.JupyterServer {
	t.Helper()
	reader, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := reader.Read(t.Context(), strings.NewReader(text), "science")
	if err != nil || len(servers) != 1 {
		t.Fatalf("%d servers: %v", len(servers), err)
	}
	return servers[0]
}

// rendered are a server's objects, with and without its patches.
func rendered(t testing.TB, server *v1alpha1.JupyterServer) (objects, expected []*unstructured.Unstructured) {
	t.Helper()
	renderer, err := newRenderer()
	if err != nil {
		t.Fatal(err)
	}
	with, err := renderer.Render(server, render.References{})
	if err != nil {
		t.Fatal(err)
	}
	plain := server.DeepCopy()
	plain.Spec.Patches = nil
	without, err := renderer.Render(plain, render.References{})
	if err != nil {
		t.Fatal(err)
	}
	return with.Objects, without.Objects
}

// input is that of a new server.
func input(t testing.TB, server *v1alpha1.JupyterServer) policies.Input {
	t.Helper()
	in := policies.Input{Operation: policies.Create, Object: server, Namespace: policies.Namespace{Name: server.Namespace}}
	in.Objects, in.Expected = rendered(t, server)
	return in
}

// newEvaluator has a configuration that is given as YAML, over the defaults.
func newEvaluator(t testing.TB, settings string) *policies.Evaluator {
	t.Helper()
	cfg, err := policies.Parse([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := policies.New(t.Context(), policies.Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	return evaluator
}

// header is the first comment of a fixture.
type header struct {
	// Reason is why the verdicts are these.
	Reason string `json:"reason"`
	// Deny and Warn are the ids of the verdicts, sorted, each once.
	Deny []string `json:"deny"`
	Warn []string `json:"warn"`
	// Config holds the settings.
	Config map[string]any `json:"config"`
	// Routes are those of other servers.
	Routes []policies.Route `json:"routes"`
	// More are objects that are rendered besides, as a mistake in the chart could do.
	More []map[string]any `json:"more"`
	// Message is a part of one of the messages, and Path one of the paths.
	Message string `json:"message"`
	Path    string `json:"path"`
}

// TestFixtures renders the server of every fixture, and compares the verdicts with its header.
func TestFixtures(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	denied, allowed := map[string]bool{}, map[string]bool{}
	evaluators := map[string]*policies.Evaluator{} // compiling takes a moment
	for _, file := range fixtures {
		rule := filepath.Base(filepath.Dir(file))
		t.Run(rule+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			head, text := readFixture(t, file)
			settings, err := yaml.Marshal(map[string]any{"rules": head.Config})
			if err != nil {
				t.Fatal(err)
			}
			in := input(t, read(t, text))
			in.Routes = head.Routes
			for _, object := range head.More {
				in.Objects = append(in.Objects, &unstructured.Unstructured{Object: object})
			}
			if evaluators[string(settings)] == nil {
				evaluators[string(settings)] = newEvaluator(t, string(settings))
			}
			result, err := evaluators[string(settings)].Evaluate(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(result.Denials()); !slices.Equal(got, head.Deny) {
				t.Errorf("denied by %v, want %v, because %s; all: %+v", got, head.Deny, head.Reason, result.Verdicts)
			}
			if got := ids(result.Warnings()); !slices.Equal(got, head.Warn) {
				t.Errorf("warned by %v, want %v, because %s; all: %+v", got, head.Warn, head.Reason, result.Verdicts)
			}
			if !slices.ContainsFunc(result.Verdicts, func(v policies.Verdict) bool {
				return v.ID == rule && strings.Contains(v.Message, head.Message) && (head.Path == "" || v.Path == head.Path)
			}) && (head.Message != "" || head.Path != "") {
				t.Errorf("no verdict of %s with %q at %q; all: %+v", rule, head.Message, head.Path, result.Verdicts)
			}
			if slices.Contains(slices.Concat(head.Deny, head.Warn), rule) {
				denied[rule] = true
			} else {
				allowed[rule] = true
			}
		})
	}
	for _, id := range ruleIDs(t) {
		if !denied[id] || !allowed[id] {
			t.Errorf("testdata/%s lacks a server that the rule finds, or one that it passes", id)
		}
	}
}

// readFixture takes the comment at the beginning of a file apart from the server.
func readFixture(t *testing.T, file string) (head header, text string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var comment strings.Builder
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		comment.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	if err := yaml.UnmarshalStrict([]byte(comment.String()), &head); err != nil {
		t.Fatalf("the header: %v", err)
	}
	if head.Reason == "" {
		t.Fatal("the header has no reason")
	}
	return head, string(raw)
}

func ids(verdicts []policies.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		out = append(out, v.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
