// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// What `helm template` with the post-renderer prints of a spec is what the operator applies for it: for every example, and
// every golden that needs no configuration.
func TestHelmTemplateGivesTheSameObjects(t *testing.T) {
	helm := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm")
	if _, err := os.Stat(helm); err != nil {
		t.Fatalf("KUBEBUILDER_ASSETS names no folder with helm: run `make test-unit`: %v", err)
	}
	postrender := filepath.Join(t.TempDir(), "postrender")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", postrender, "../../../postrender/cmd/postrender").CombinedOutput(); err != nil {
		t.Fatalf("building the post-renderer: %v\n%s", err, out)
	}
	for name, manifest := range manifests(t) {
		t.Run(name, func(t *testing.T) {
			server := read(t, manifest)
			rendered, err := newRenderer(t, config.Default()).Render(server, render.References{})
			if err != nil {
				t.Fatal(err)
			}
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, specOf(t, manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), helm, "template", server.Name, "../../../chart-jupyter-server",
				"--namespace", server.Namespace, "--values", values, "--post-renderer", postrender)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got, want := objects(t, string(out)), objects(t, rendered.Manifest)
			for key, object := range want {
				if !reflect.DeepEqual(got[key], object) {
					t.Errorf("%s differs; helm template gives\n%v\nthe operator\n%v", key, got[key], object)
				}
			}
			if len(got) != len(want) {
				t.Errorf("helm template gives %d objects, the operator %d", len(got), len(want))
			}
		})
	}
}

// manifests are JupyterServers by the name of their file.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	examples, err := filepath.Glob("../../../examples/*.yaml")
	if err != nil || len(examples) < 2 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range examples {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = string(raw)
	}
	goldens, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range goldens {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if section(archive, "config.yaml") == "" && section(archive, "error") == "" {
			out[filepath.Base(file)] = section(archive, "server.yaml")
		}
	}
	return out
}

// specOf is the spec as its author wrote it: the values.
func specOf(t *testing.T, manifest string) []byte {
	t.Helper()
	var server struct {
		Spec any `json:"spec"`
	}
	if err := sigsyaml.Unmarshal([]byte(manifest), &server); err != nil {
		t.Fatal(err)
	}
	raw, err := sigsyaml.Marshal(server.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// objects are those of a manifest by kind and name.
func objects(t *testing.T, manifest string) map[string]any {
	t.Helper()
	out := map[string]any{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			out[object.GetKind()+" "+object.GetName()] = object.Object
		}
	}
}
