// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/test/golden"
)

// TestGolden renders the JupyterServer of every golden, and compares with the manifest in the same file. A golden may
// hold the operator's configuration, and an error instead of a manifest.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			setSection(archive, renderGolden(t, archive))
			golden.Check(t, file, string(txtar.Format(archive)))
		})
	}
}

// renderGolden is the section of a golden with its manifest, or with the error.
func renderGolden(t *testing.T, archive *txtar.Archive) txtar.File {
	t.Helper()
	in := specimenOf(t, archive)
	rendered, err := newRenderer(t, in.config).Render(read(t, in.server), in.refs)
	if err != nil {
		return txtar.File{Name: "error", Data: []byte(err.Error() + "\n")}
	}
	return txtar.File{Name: "manifest.yaml", Data: []byte(rendered.Manifest)}
}

func newRenderer(t testing.TB, cfg config.Config) *render.Renderer {
	t.Helper()
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return renderer
}

func read(t testing.TB, text string) *v1alpha1.JupyterServer {
	t.Helper()
	reader, err := schema.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := reader.Read(t.Context(), strings.NewReader(text), "default")
	if err != nil || len(servers) != 1 {
		t.Fatalf("%d servers: %v", len(servers), err)
	}
	return servers[0]
}

func section(archive *txtar.Archive, name string) string {
	for _, file := range archive.Files {
		if file.Name == name {
			return string(file.Data)
		}
	}
	return ""
}

// setSection gives a golden what came out, in the place of what it held.
func setSection(archive *txtar.Archive, out txtar.File) {
	archive.Files = slices.DeleteFunc(archive.Files, func(file txtar.File) bool { return file.Name == "manifest.yaml" || file.Name == "error" })
	archive.Files = append(archive.Files, out)
}

func TestRenderIsDeterministic(t *testing.T) {
	for golden, times := range map[string]int{"minimal": 900, "everything": 100, "oidc": 100} {
		archive, err := txtar.ParseFile("testdata/" + golden + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		server := read(t, section(archive, "server.yaml"))
		first, err := newRenderer(t, config.Default()).Render(server, render.References{SecretsChecksum: "x"})
		if err != nil {
			t.Fatal(err)
		}
		renderer := newRenderer(t, config.Default())
		for range times {
			again, err := renderer.Render(server, render.References{SecretsChecksum: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if again.Manifest != first.Manifest || again.Digest != first.Digest {
				t.Fatalf("two renders differ:\n%s\n%s\n%s\n%s", first.Digest, again.Digest, first.Manifest, again.Manifest)
			}
		}
	}
}

// TestDigest: equal input must have an equal digest, and every input that changes the result another one.
func TestDigest(t *testing.T) {
	base := "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: alice}\nspec: {routing: {host: a.example.org}}\n"
	digest := func(cfg config.Config, refs render.References, edit func(*v1alpha1.JupyterServer)) string {
		server := read(t, base)
		edit(server)
		rendered, err := newRenderer(t, cfg).Render(server, refs)
		if err != nil {
			t.Fatal(err)
		}
		return rendered.Digest
	}
	same := func(*v1alpha1.JupyterServer) {}
	other := config.Default()
	other.Ingress.ClassName = "other"
	reference := digest(config.Default(), render.References{}, same)
	tests := []struct {
		reason string
		digest string
		equal  bool
	}{
		{"nothing changed", digest(config.Default(), render.References{}, same), true},
		{"a label of the server is not rendered", digest(config.Default(), render.References{}, func(s *v1alpha1.JupyterServer) { s.Labels = map[string]string{"a": "b"} }), true},
		{"the spec changed", digest(config.Default(), render.References{}, func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true }), false},
		{"a Secret changed", digest(config.Default(), render.References{SecretsChecksum: "x"}, same), false},
		{"the configuration changed", digest(other, render.References{}, same), false},
	}
	for _, test := range tests {
		if (test.digest == reference) != test.equal {
			t.Errorf("%s: digest %s, before %s", test.reason, test.digest, reference)
		}
	}
}

func TestInlineSecretsAreNotRendered(t *testing.T) {
	server := read(t, `{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: alice}, spec: {routing: {host: a.example.org}, auth: {token: {value: very-secret}}}}`)
	rendered, err := newRenderer(t, config.Default()).Render(server, render.References{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(rendered.Manifest, "very-secret") {
		t.Errorf("the manifest contains the token:\n%s", rendered.Manifest)
	}
	if auth, _ := rendered.Values["auth"].(map[string]any); auth["token"] != nil {
		t.Errorf("the values contain the token: %v", auth)
	}
	if server.Spec.Auth.Token.Value != "very-secret" {
		t.Error("rendering changed the server")
	}
}

func TestURL(t *testing.T) {
	tests := []struct {
		reason  string
		routing v1alpha1.Routing
		ports   config.Ingress
		want    string
	}{
		{"a slash is appended to a path", v1alpha1.Routing{Host: "h", Path: "/a/b"}, config.Ingress{HTTPPort: 80, HTTPSPort: 443}, "http://h/a/b/"},
		{"the root path has one slash", v1alpha1.Routing{Host: "h", Path: "/"}, config.Ingress{HTTPPort: 80, HTTPSPort: 443}, "http://h/"},
		{"TLS changes the scheme to https", v1alpha1.Routing{Host: "h", Path: "/", TLS: &v1alpha1.RoutingTLS{Enabled: true}}, config.Ingress{HTTPPort: 8000, HTTPSPort: 443}, "https://h/"},
		{"a non-standard port is part of the URL", v1alpha1.Routing{Host: "h", Path: "/a"}, config.Ingress{HTTPPort: 8000, HTTPSPort: 443}, "http://h:8000/a/"},
	}
	for _, test := range tests {
		cfg := config.Default()
		cfg.Ingress = test.ports
		got := newRenderer(t, cfg).URL(&v1alpha1.JupyterServer{Spec: v1alpha1.JupyterServerSpec{Routing: test.routing}})
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.reason, got, test.want)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for _, golden := range []string{"minimal", "everything", "oidc"} {
		b.Run(golden, func(b *testing.B) {
			archive, err := txtar.ParseFile("testdata/" + golden + ".txtar")
			if err != nil {
				b.Fatal(err)
			}
			server := read(b, section(archive, "server.yaml"))
			renderer := newRenderer(b, config.Default())
			var size bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				rendered, err := renderer.Render(server, render.References{})
				if err != nil {
					b.Fatal(err)
				}
				size.Reset()
				size.WriteString(rendered.Manifest)
			}
		})
	}
}

// BenchmarkDigest measures how long it takes to find that a spec is the released one: its values and their digest.
func BenchmarkDigest(b *testing.B) {
	for _, golden := range []string{"minimal", "everything", "oidc"} {
		b.Run(golden, func(b *testing.B) {
			archive, err := txtar.ParseFile("testdata/" + golden + ".txtar")
			if err != nil {
				b.Fatal(err)
			}
			server := read(b, section(archive, "server.yaml"))
			renderer := newRenderer(b, config.Default())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := render.Digest(renderer, server, render.References{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestNamesAreStrings: YAML reads some names as numbers or booleans. A namespace may have any of these names, a server only those that
// start with a letter.
func TestNamesAreStrings(t *testing.T) {
	renderer := newRenderer(t, config.Default())
	archive, err := txtar.ParseFile("testdata/oidc.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"2024", "1e3", "0x10", "n", "on", "null"} {
		t.Run(name, func(t *testing.T) {
			server := read(t, section(archive, "server.yaml"))
			server.Name, server.Namespace = name, name
			rendered, err := renderer.Render(server, render.References{})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range rendered.Objects {
				labels, _, err := unstructured.NestedStringMap(object.Object, "metadata", "labels")
				if err != nil || labels["jupyterserver.dev/name"] != name {
					t.Errorf("labels of the %s: %v, %v", object.GetKind(), labels, err)
				}
				if object.GetNamespace() != name || !strings.HasPrefix(object.GetName(), name) {
					t.Errorf("the %s is %q in %q", object.GetKind(), object.GetName(), object.GetNamespace())
				}
			}
		})
	}
}
