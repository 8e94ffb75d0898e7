// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/tester"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

const customExamples = "../examples/policies/"

// exampleNames returns the names of the ConfigMaps with rules.
func exampleNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(customExamples + "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(filepath.Base(file), ".yaml")
	}
	return names
}

func exampleConfigMap(t *testing.T, name string) corev1.ConfigMap {
	t.Helper()
	raw, err := os.ReadFile(customExamples + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := yaml.UnmarshalStrict(raw, &cm); err != nil {
		t.Fatal(err)
	}
	if cm.Name != name || cm.Labels["jupyterserver.dev/policies"] != "true" || cm.Namespace == "" {
		t.Errorf("%s: wrong name, no namespace or no label jupyterserver.dev/policies", name)
	}
	return cm
}

func sourcesOf(cm corev1.ConfigMap) []policies.Source {
	var sources []policies.Source
	for key, text := range cm.Data {
		sources = append(sources, policies.Source{Name: cm.Name + "/" + key, Text: text})
	}
	return sources
}

// Users copy the examples, so they must work as documented.
func TestCustomExamplesReturnTheirVerdicts(t *testing.T) {
	const labelled = "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: alice, namespace: science, labels: {team: physics}}\nspec:\n" +
		"  routing: {host: jupyter.example.org, path: /alice, tls: {enabled: true}}\n"
	const bare = "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: alice, namespace: science}\nspec:\n" +
		"  routing: {host: jupyter.example.org, path: /alice}\n"
	gpu := func(image string) string {
		return labelled + "  jupyterServer: {image: \"" + image + "\", resources: {limits: {memory: 4Gi, nvidia.com/gpu: \"1\"}}}\n"
	}
	memory := func(limit string) string {
		return labelled + "  jupyterServer: {resources: {limits: {memory: " + limit + "}}}\n"
	}
	patched := func(patch string) string { return memory("1Gi") + "  patches:\n  - " + patch + "\n" }
	const culls = `  jupyterServer: {extraArgs: ["--MappingKernelManager.cull_idle_timeout=3600"]}` + "\n"
	tests := map[string][]struct {
		reason      string
		server      string
		annotations map[string]string
		deny, audit []string
		path        string
	}{
		"team-label": {
			{reason: "the label is set", server: labelled},
			{reason: "the label is missing", server: bare, deny: []string{"team-label"}, path: "metadata.labels.team"},
		},
		"gpu-images": {
			{reason: "the image is listed", server: gpu("quay.io/jupyter/pytorch-notebook:cuda12-latest")},
			{reason: "no GPU is requested", server: memory("1Gi")},
			{reason: "the image is not listed", server: gpu("quay.io/jupyter/base-notebook"), deny: []string{"gpu-images"}, path: "spec.jupyterServer.image"},
			{
				reason: "a patch adds the GPU", deny: []string{"gpu-images"}, path: "spec.jupyterServer.image",
				server: patched(`{target: {kind: StatefulSet}, type: json, patch: '[{"op": "add", "path": "/spec/template/spec/containers/0/resources/limits/amd.com~1gpu", "value": "1"}]'}`),
			},
		},
		"namespace-memory": {
			{reason: "the limit is within the default", server: memory("8Gi")},
			{reason: "the limit is above the default", server: memory("9Gi"), deny: []string{"namespace-memory"}, path: "spec.jupyterServer.resources.limits"},
			{reason: "the namespace allows more", server: memory("9Gi"), annotations: map[string]string{"jupyterserver.dev/max-memory": "16Gi"}},
			{
				reason: "the namespace allows less", server: memory("3Gi"), annotations: map[string]string{"jupyterserver.dev/max-memory": "2Gi"},
				deny: []string{"namespace-memory"}, path: "spec.jupyterServer.resources.limits",
			},
			{
				reason: "the annotation is not a quantity", server: memory("1Gi"), annotations: map[string]string{"jupyterserver.dev/max-memory": "much"},
				deny: []string{"namespace-memory"}, path: "metadata.namespace",
			},
			{
				reason: "no limit is set", deny: []string{"namespace-memory"}, path: "spec.jupyterServer.resources.limits.memory",
				server: labelled + "  jupyterServer: {resources: {limits: {cpu: \"1\"}}}\n",
			},
		},
		"idle-servers": {
			{reason: "TLS and culling are set", server: labelled + culls},
			{reason: "neither TLS nor culling is set", server: bare, audit: []string{"idle-kernels", "no-tls"}, path: "spec.routing.tls.enabled"},
			{reason: "only culling is set", server: bare + culls, audit: []string{"no-tls"}},
		},
	}
	names := exampleNames(t)
	if with := slices.Sorted(maps.Keys(tests)); !slices.Equal(names, with) {
		t.Errorf("found the examples %v, but tests of %v", names, with)
	}
	for _, name := range names {
		trials := []policies.Input{input(t, read(t, bare))}
		evaluator, err := policies.New(t.Context(), policies.Options{Config: policies.Default(), Sources: sourcesOf(exampleConfigMap(t, name)), Trials: trials})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range tests[name] {
			t.Run(name+"/"+test.reason, func(t *testing.T) {
				in := input(t, read(t, test.server))
				in.Namespace.Annotations = test.annotations
				result, err := evaluator.Evaluate(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(ids(result.Denials()), test.deny) || !slices.Equal(ids(result.Audited()), test.audit) {
					t.Errorf("%+v", result.Verdicts)
				}
				if test.path != "" && !slices.ContainsFunc(result.Verdicts, func(v policies.Verdict) bool { return v.Path == test.path }) {
					t.Errorf("no verdict at %s: %+v", test.path, result.Verdicts)
				}
			})
		}
	}
}

// All examples can be applied to one cluster.
func TestCustomExamplesAreCompatible(t *testing.T) {
	var sources []policies.Source
	for _, name := range exampleNames(t) {
		sources = append(sources, sourcesOf(exampleConfigMap(t, name))...)
	}
	if _, err := policies.New(t.Context(), policies.Options{Config: policies.Default(), Sources: sources}); err != nil {
		t.Error(err)
	}
}

// Equivalent to `opa fmt`, `opa check --strict --schema` and `opa test` on the files of a ConfigMap with the built-in rules.
func TestCustomExamplesPassTheStockOPA(t *testing.T) {
	for _, name := range exampleNames(t) {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			for key, text := range exampleConfigMap(t, name).Data {
				if err := os.WriteFile(filepath.Join(folder, key), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			loaded, err := loader.NewFileLoader().WithProcessAnnotation(true).Filtered([]string{folder}, nil)
			if err != nil {
				t.Fatal(err)
			}
			all, tested := modules(t), 0
			for file, module := range loaded.Modules {
				all[file] = module.Parsed
				if formatted, err := format.Source(file, module.Raw); err != nil || string(formatted) != string(module.Raw) {
					t.Errorf("%s is not formatted: %v", file, err)
				}
			}
			if c := compiler(t); !compiles(c, maps.Clone(all)) {
				t.Fatal(c.Errors)
			}
			store, err := loaded.Store()
			if err != nil {
				t.Fatal(err)
			}
			results, err := tester.NewRunner().SetCompiler(ast.NewCompiler()).SetStore(store).SetModules(all).RunTests(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for result := range results {
				if tested++; !result.Pass() {
					t.Errorf("%s", result)
				}
			}
			if tested == 0 {
				t.Error("the example has no tests")
			}
		})
	}
}

// The documentation contains the smallest example.
func TestDocumentShowsTheExample(t *testing.T) {
	example, err := os.ReadFile(customExamples + "team-label.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, manifest, _ := strings.Cut(string(example), "\n") // without the comment
	if !strings.Contains(string(document), "```yaml\n"+manifest+"```\n") {
		t.Error("docs/policies.md does not contain examples/policies/team-label.yaml")
	}
}

func TestExampleSettingsAreValid(t *testing.T) {
	example, err := os.ReadFile(customExamples + "helm-chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	// Its first three YAML blocks are parts of one file, each with the enclosing keys.
	var shown string
	for i, block := range strings.Split(string(document), "```yaml\n")[1:4] {
		text, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatalf("block %d has no end", i)
		}
		if i > 0 {
			text = strings.TrimPrefix(text, "config:\n  policies:\n")
		}
		shown += text
	}
	for name, text := range map[string]string{"the example": string(example), "the document": shown} {
		t.Run(name, func(t *testing.T) {
			var values struct {
				Config struct {
					Policies map[string]any `json:"policies"`
				} `json:"config"`
			}
			if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
				t.Fatal(err)
			}
			settings, err := yaml.Marshal(values.Config.Policies)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := policies.Parse(settings)
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Namespaces) == 0 || len(cfg.Exemptions) == 0 {
				t.Errorf("the example lacks namespaces or exemptions: %+v", cfg)
			}
			if _, err := policies.New(t.Context(), policies.Options{Config: cfg}); err != nil {
				t.Error(err)
			}
		})
	}
}
