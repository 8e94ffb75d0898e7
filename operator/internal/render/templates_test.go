// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/randfill"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/postrender"
)

// renderWithHelm renders values with Helm's own engine, its sorter and the post-renderer.
func renderWithHelm(server *v1alpha1.JupyterServer, values map[string]any) (string, error) {
	chart, err := loader.LoadDir("../../../chart-jupyter-server")
	if err != nil {
		return "", err
	}
	options := chartutil.ReleaseOptions{Name: server.Name, Namespace: server.Namespace, Revision: 1, IsInstall: true}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(chart, values, options, nil, true)
	if err != nil {
		return "", err
	}
	files, err := engine.Engine{}.Render(chart, top)
	if err != nil {
		return "", err
	}
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasSuffix(name, "NOTES.txt") })
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	for _, m := range manifests {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	manifest, err := postrender.Run(out.Bytes())
	return string(manifest), err
}

// sameAsHelm renders a server in both ways, and reports whether that resulted in a manifest.
func sameAsHelm(t *testing.T, renderer *render.Renderer, server *v1alpha1.JupyterServer) bool {
	t.Helper()
	rendered, err := renderer.Render(server, render.References{SecretsChecksum: "x"})
	if err != nil {
		values, valuesErr := render.Values(renderer, server, render.References{SecretsChecksum: "x"})
		if valuesErr != nil {
			t.Fatal(valuesErr)
		}
		if _, want := renderWithHelm(server, values); want == nil || !strings.HasSuffix(err.Error(), want.Error()) {
			t.Errorf("got error\n%v\nbut with Helm's engine\n%v", err, want)
		}
		return false
	}
	want, err := renderWithHelm(server, rendered.Values)
	if err != nil {
		t.Fatalf("Helm's engine fails: %v", err)
	}
	if rendered.Manifest != want {
		t.Errorf("got manifest\n%s\nbut with Helm's engine\n%s", rendered.Manifest, want)
	}
	if want := decode(t, want); !reflect.DeepEqual(rendered.Objects, want) {
		t.Errorf("got objects\n%v\nbut the manifest contains\n%v", rendered.Objects, want)
	}
	return true
}

// decode decodes a manifest as clients of the API server do.
func decode(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
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
			out = append(out, object)
		}
	}
}

// TestRenderedAsByHelm: the chart renders as with Helm's engine, for every example and every golden file.
func TestRenderedAsByHelm(t *testing.T) {
	for name, in := range specimens(t) {
		t.Run(name, func(t *testing.T) {
			if !sameAsHelm(t, newRenderer(t, in.config), read(t, in.server)) {
				t.Error("no manifest")
			}
		})
	}
	goldens, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range goldens {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if section(archive, "error") == "" {
			continue // among the specimens
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			in := specimenOf(t, archive)
			if sameAsHelm(t, newRenderer(t, in.config), read(t, in.server)) {
				t.Error("a manifest")
			}
		})
	}
	t.Run("an annotation makes the Ingress a Helm hook", func(t *testing.T) {
		server := randomServer(1, "")
		server.Spec.Routing.Annotations = map[string]string{"helm.sh/hook": "post-install"}
		sameAsHelm(t, newRenderer(t, config.Default()), server)
	})
}

// FuzzRenderedAsByHelm is TestRenderedAsByHelm for random specs.
func FuzzRenderedAsByHelm(f *testing.F) {
	texts := []string{"", "a", "\n---\nkind: Service\n", "---", "<no value>", "{{ .Values }}", "yes", "0x10", "1e3", "- a: b # c", "\"'`$\\", "\t\u00e9\u2028\x7f\n \n", "postrender.jupyterserver.dev/v1alpha1", "helm.sh/hook"}
	for seed := range 6 * len(texts) {
		f.Add(int64(seed), texts[seed%len(texts)])
	}
	renderer := newRenderer(f, config.Default())
	f.Fuzz(func(t *testing.T, seed int64, text string) {
		sameAsHelm(t, renderer, randomServer(seed, text))
	})
}

// randomServer sets many fields of a spec, some of them to text. Fields that decide which objects exist have valid values.
func randomServer(seed int64, text string) *v1alpha1.JupyterServer {
	fill := randfill.NewWithSeed(seed).NilChance(0.6).NumElements(0, 3).MaxDepth(14).Funcs(
		func(s *string, c randfill.Continue) {
			*s = []string{text, "", "text", c.String(12)}[c.Intn(4)]
		},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(9000), resource.DecimalSI)
		},
		func(q *v1alpha1.Quantity, c randfill.Continue) { *q = v1alpha1.Quantity(fmt.Sprint(c.Intn(9), "Gi")) },
		func(p *intstr.IntOrString, c randfill.Continue) { *p = intstr.FromInt32(c.Int31()) },
		func(f *metav1.FieldsV1, _ randfill.Continue) { *f = metav1.FieldsV1{} },
	)
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Name: "alice", Namespace: "team"}}
	fill.Fill(&server.Spec)
	spec := &server.Spec
	spec.Routing.Host = "alice.example.org"
	spec.Routing.Path = []string{"/", "/alice"}[seed&1]
	spec.JupyterServer.ImagePullPolicy = corev1.PullAlways
	spec.Patches = nil
	spec.Auth.Mode = []v1alpha1.AuthMode{v1alpha1.AuthModeToken, v1alpha1.AuthModeNone, v1alpha1.AuthModeOIDC}[uint64(seed)%3]
	if spec.Auth.Mode == v1alpha1.AuthModeOIDC {
		spec.Auth.OIDC = &v1alpha1.OIDC{IssuerURL: "https://issuer.example.org", ClientID: "a" + text, Scopes: []string{"openid", "email"}, Allow: v1alpha1.Allow{Users: []string{text}}}
	}
	if seed%4 == 0 {
		spec.Patches = []v1alpha1.Patch{{Target: v1alpha1.PatchTarget{Kind: "Service"}, Type: v1alpha1.PatchTypeMerge, Patch: "metadata: {annotations: {a: b}}"}}
	}
	return server
}

// TestConcurrentRenders: renders share the parsed templates.
func TestConcurrentRenders(t *testing.T) {
	renderer := newRenderer(t, config.Default())
	server := randomServer(2, "text")
	want, err := renderer.Render(server, render.References{})
	if err != nil {
		t.Fatal(err)
	}
	var renders sync.WaitGroup
	for range 8 {
		renders.Go(func() {
			got, err := renderer.Render(server, render.References{})
			if err != nil || got.Manifest != want.Manifest {
				t.Errorf("a different manifest, or an error: %v", err)
			}
		})
	}
	renders.Wait()
}

// TestUnsupportedCharts: charts that this package would not render as Helm does are rejected.
func TestUnsupportedCharts(t *testing.T) {
	tests := []struct {
		reason, template, err string
	}{
		{"a function with different results at every render", "kind: Service\n\na: {{ randAlphaNum 5 }}", `x.yaml:3: function "randAlphaNum" not defined`},
		{"a function that reads the cluster", "kind: Service\na: {{ lookup }}", `x.yaml:2: function "lookup" not defined`},
		{"an invalid template", "kind: Service\na: {{ if }}", "x.yaml:2: missing value for if"},
		{"two objects in one file", "kind: Service\n---\nkind: Secret\n", "x.yaml must contain exactly one object"},
		{"an object whose kind is rendered", "kind: {{ .Values.kind }}\n", "x.yaml must contain exactly one object"},
	}
	for _, test := range tests {
		if _, err := render.New(chartOf(test.template), config.Default()); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got error %v, want %s", test.reason, err, test.err)
		}
	}
}

// TestErrorsOfTemplates: errors name the template and the line.
func TestErrorsOfTemplates(t *testing.T) {
	tests := []struct {
		reason, template, err string
	}{
		{"a missing required value", "kind: Service\na: {{ required \"give a b\" .Values.b }}", "rendering the chart: execution error at (c/templates/x.yaml:2:6): give a b"},
		{"the same in a named template", "kind: Service\n{{ define \"p\" }}{{ required \"give a b\" .Values.b }}{{ end }}\na: {{ include \"p\" . }}", "rendering the chart: execution error at (c/templates/x.yaml:3:6): give a b"},
		{"a function that fails", "kind: Service\na: {{ index .Values.storage.size 99 }}", `rendering the chart: template: c/templates/x.yaml:2:6: executing "c/templates/x.yaml" at <index .Values.storage.size 99>: error calling index: `},
		{"output that is not YAML", "kind: Service\na: {{ .Values.routing.host }}: b", "reading the rendered chart: YAML parse error on c/templates/x.yaml: error converting YAML to JSON: yaml: line 2: "},
		{"a template that includes itself", "kind: Service\n{{ define \"p\" }}{{ include \"p\" . }}{{ end }}\na: {{ include \"p\" . }}", "the template p includes itself endlessly"},
	}
	for _, test := range tests {
		renderer, err := render.New(chartOf(test.template), config.Default())
		if err != nil {
			t.Fatal(err)
		}
		server := read(t, `{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: alice}, spec: {routing: {host: a.example.org}}}`)
		if _, err := renderer.Render(server, render.References{}); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got error\n%v, want\n%s", test.reason, err, test.err)
		}
	}
}

// chartOf returns a chart with one template.
func chartOf(template string) fstest.MapFS {
	return fstest.MapFS{
		"Chart.yaml":       {Data: []byte("apiVersion: v2\nname: c\nversion: 0.1.0\n")},
		"values.yaml":      {Data: []byte("{}")},
		"templates/x.yaml": {Data: []byte(template)},
	}
}
