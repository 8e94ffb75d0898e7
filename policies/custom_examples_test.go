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

// exampleNames are those of the ConfigMaps with rules.
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
		t.Errorf("%s: it has another name, no namespace, or not the label that makes it count", name)
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

// What people copy must do what it says.
func TestCustomExamplesGiveTheirVerdicts(t *testing.T) {
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
			{reason: "the label is there", server: labelled},
			{reason: "the label is missing", server: bare, deny: []string{"team-label"}, path: "metadata.labels.team"},
		},
		"gpu-images": {
			{reason: "the image is listed", server: gpu("quay.io/jupyter/pytorch-notebook:cuda12-latest")},
			{reason: "there is no GPU", server: memory("1Gi")},
			{reason: "the image is another one", server: gpu("quay.io/jupyter/base-notebook"), deny: []string{"gpu-images"}, path: "spec.jupyterServer.image"},
			{
				reason: "a patch adds the GPU", deny: []string{"gpu-images"}, path: "spec.jupyterServer.image",
				server: patched(`{target: {kind: StatefulSet}, type: json, patch: '[{"op": "add", "path": "/spec/template/spec/containers/0/resources/limits/amd.com~1gpu", "value": "1"}]'}`),
			},
		},
		"namespace-memory": {
			{reason: "it is within the default", server: memory("8Gi")},
			{reason: "it is above the default", server: memory("9Gi"), deny: []string{"namespace-memory"}, path: "spec.jupyterServer.resources.limits"},
			{reason: "the namespace has more", server: memory("9Gi"), annotations: map[string]string{"jupyterserver.dev/max-memory": "16Gi"}},
			{
				reason: "the namespace has less", server: memory("3Gi"), annotations: map[string]string{"jupyterserver.dev/max-memory": "2Gi"},
				deny: []string{"namespace-memory"}, path: "spec.jupyterServer.resources.limits",
			},
			{
				reason: "the annotation is no quantity", server: memory("1Gi"), annotations: map[string]string{"jupyterserver.dev/max-memory": "much"},
				deny: []string{"namespace-memory"}, path: "metadata.namespace",
			},
			{
				reason: "there is no limit", deny: []string{"namespace-memory"}, path: "spec.jupyterServer.resources.limits.memory",
				server: labelled + "  jupyterServer: {resources: {limits: {cpu: \"1\"}}}\n",
			},
		},
		"idle-servers": {
			{reason: "it has both", server: labelled + culls},
			{reason: "it has neither", server: bare, audit: []string{"idle-kernels", "no-tls"}, path: "spec.routing.tls.enabled"},
			{reason: "it only culls", server: bare + culls, audit: []string{"no-tls"}},
		},
	}
	names := exampleNames(t)
	if with := slices.Sorted(maps.Keys(tests)); !slices.Equal(names, with) {
		t.Errorf("there are the examples %v, and tests of %v", names, with)
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

// All of them may be applied to one cluster.
func TestCustomExamplesGoTogether(t *testing.T) {
	var sources []policies.Source
	for _, name := range exampleNames(t) {
		sources = append(sources, sourcesOf(exampleConfigMap(t, name))...)
	}
	if _, err := policies.New(t.Context(), policies.Options{Config: policies.Default(), Sources: sources}); err != nil {
		t.Error(err)
	}
}

// With the stock OPA, on the files of a ConfigMap beside the built-in rules: `opa fmt`, `opa check --strict --schema`, `opa test`.
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
				t.Error("it has no tests")
			}
		})
	}
}

// The document shows the smallest one, and people copy it from there.
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
		t.Error("docs/policies.md does not show examples/policies/team-label.yaml as it is")
	}
}

func TestExamplesOfSettingsAreTaken(t *testing.T) {
	example, err := os.ReadFile(customExamples + "helm-chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	// Its first three blocks of YAML are the parts of one file, each with the keys around it.
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
				t.Errorf("it shows too little: %+v", cfg)
			}
			if _, err := policies.New(t.Context(), policies.Options{Config: cfg}); err != nil {
				t.Error(err)
			}
		})
	}
}
