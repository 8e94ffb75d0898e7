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
	"github.com/jupyterserver/jupyter-server-operator/test/golden"
)

// What `helm template` with the post-renderer prints of a spec is what the operator applies for it: for every example, and every
// golden with a manifest. A golden's configuration is given to Helm as the operator gives it to the chart: as the section operator
// of the values. Without one the defaults of the chart count, which have to be those of the operator.
func TestHelmTemplateGivesTheSameObjects(t *testing.T) {
	helm := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm")
	if _, err := os.Stat(helm); err != nil {
		t.Fatalf("the folder KUBEBUILDER_ASSETS does not contain helm: run `make test-unit`: %v", err)
	}
	postrender := filepath.Join(t.TempDir(), "postrender")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", postrender, "../../../postrender/cmd/postrender").CombinedOutput(); err != nil {
		t.Fatalf("building the post-renderer: %v\n%s", err, out)
	}
	for name, in := range specimens(t) {
		t.Run(name, func(t *testing.T) {
			server, renderer := read(t, in.server), newRenderer(t, in.config)
			rendered, err := renderer.Render(server, in.refs)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"template", server.Name, "../../../chart-jupyter-server", "--namespace", server.Namespace,
				"--post-renderer", postrender, "--values", writeTemp(t, specOf(t, in.server))}
			if in.configured {
				args = append(args, "--values", writeTemp(t, asYAML(t, map[string]any{"operator": rendered.Values["operator"]})))
			}
			cmd := exec.CommandContext(t.Context(), helm, args...)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got, want := objects(t, string(out)), objects(t, rendered.Manifest)
			for key, object := range want {
				if !reflect.DeepEqual(got[key], object) {
					t.Errorf("%s differs:\n%s", key, golden.Diff("the operator", "helm template", asYAML(t, object), asYAML(t, got[key])))
				}
				delete(got, key)
			}
			for key := range got {
				t.Errorf("helm template gives a %s, the operator does not", key)
			}
		})
	}
}

func writeTemp(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// specimen is a JupyterServer, and what else it is rendered with.
type specimen struct {
	server string
	config config.Config
	refs   render.References
	// configured reports whether config or refs are not the defaults.
	configured bool
}

// specimens are the examples, and the goldens with a manifest, by the name of their file.
func specimens(t *testing.T) map[string]specimen {
	t.Helper()
	out := map[string]specimen{}
	examples, err := filepath.Glob("../../../examples/*.yaml")
	if err != nil || len(examples) < 2 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range examples {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = specimen{server: string(raw), config: config.Default()}
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
		if section(archive, "error") == "" {
			out[filepath.Base(file)] = specimenOf(t, archive)
		}
	}
	return out
}

// specimenOf is the input of a golden.
func specimenOf(t *testing.T, archive *txtar.Archive) specimen {
	t.Helper()
	cfg, err := config.Parse([]byte(section(archive, "config.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	refs := render.References{SecretsChecksum: strings.TrimSpace(section(archive, "checksum"))}
	return specimen{section(archive, "server.yaml"), cfg, refs, section(archive, "config.yaml") != "" || refs != render.References{}}
}

// specOf is the spec as its author wrote it: the values.
func specOf(t *testing.T, manifest string) string {
	t.Helper()
	var server struct {
		Spec any `json:"spec"`
	}
	if err := sigsyaml.Unmarshal([]byte(manifest), &server); err != nil {
		t.Fatal(err)
	}
	return asYAML(t, server.Spec)
}

func asYAML(t *testing.T, value any) string {
	t.Helper()
	raw, err := sigsyaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// objects returns the objects of a manifest by kind and name.
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
