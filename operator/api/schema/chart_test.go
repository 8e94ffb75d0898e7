// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
)

const chartDir = "../../../chart-jupyter-server"

// specOf returns the spec of a JupyterServer as the API server would store it.
func specOf(t *testing.T, manifest string) map[string]any {
	t.Helper()
	reader, err := schema.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := reader.Read(t.Context(), strings.NewReader(manifest), "default")
	if err != nil {
		t.Fatal(err)
	}
	if len(servers) != 1 {
		t.Fatalf("got %d servers, want 1", len(servers))
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&servers[0].Spec)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestDefaultsOfCRDAndChartAreTheSame: the spec is passed to the chart as its values, so an omitted field must mean the same in both.
func TestDefaultsOfCRDAndChartAreTheSame(t *testing.T) {
	const host = "jupyter.example.org"
	want := specOf(t, "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: alice}\nspec: {routing: {host: "+host+"}}\n")

	raw, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := yaml.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "operator") // not part of the spec
	routing, ok := got["routing"].(map[string]any)
	if !ok || routing["host"] != "" {
		t.Fatalf("routing of values.yaml is %v, want an empty host: it is required, so it has no default", got["routing"])
	}
	routing["host"] = host

	if !reflect.DeepEqual(got, want) {
		t.Errorf("defaults differ\nvalues.yaml: %v\nCRD:         %v", got, want)
	}
}

func TestValuesSchema(t *testing.T) {
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		values string
		err    string // empty if the values are valid
		reason string
	}{
		"smallest": {
			values: `routing: {host: jupyter.example.org}`,
			reason: "only the host has no default",
		},
		"deep": {
			values: `
routing: {host: a.example.org, path: /alice, tls: {enabled: true, secretName: cert}}
jupyterServer:
  resources: {requests: {cpu: 2, memory: 4Gi}, limits: {nvidia.com/gpu: "1"}}
  env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]
storage: {storageClassName: fast, mountPath: /home/jovyan}
scheduling: {tolerations: [{operator: Exists}], affinity: {nodeAffinity: {}}}
pod:
  volumes: [{name: data, emptyDir: {sizeLimit: 1Gi}}]
  containers: [{name: proxy, image: proxy, ports: [{containerPort: 80}], readinessProbe: {httpGet: {port: http}}}]
patches: [{target: {kind: Service}, patch: "metadata: {labels: {a: b}}"}]
operator: {networkPolicy: {ingressFrom: [{namespaceSelector: {matchLabels: {name: ingress}}}]}}`,
			reason: "types of Kubernetes, quantities as numbers and as strings, names or numbers of ports",
		},
		"no host": {
			values: `routing: {path: /alice}`,
			err:    "/routing/host",
			reason: "it is required",
		},
		"misspelled section": {
			values: "routing: {host: a.example.org}\nstorrage: {size: 2Gi}",
			err:    "storrage",
			reason: "it would be dropped silently",
		},
		"misspelled field": {
			values: `routing: {host: a.example.org, pathh: /alice}`,
			err:    "pathh",
			reason: "it would be dropped silently",
		},
		"misspelled field of Kubernetes": {
			values: "routing: {host: a.example.org}\npod: {containers: [{name: a, imagee: b}]}",
			err:    "imagee",
			reason: "Kubernetes types are as strict as ours",
		},
		"misspelled field of the operator's section": {
			values: "routing: {host: a.example.org}\noperator: {networkPolicy: {enable: false}}",
			err:    "'enable'", // not enabled, which is right
			reason: "it is not of the spec, but of the values",
		},
		"wrong type": {
			values: "routing: {host: a.example.org}\nsuspend: maybe",
			err:    "/suspend",
			reason: "the types are those of the CRD",
		},
		"unknown mode": {
			values: "routing: {host: a.example.org}\nauth: {mode: password}",
			err:    "/auth/mode",
			reason: "the enums are those of the CRD",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			values, err := chartutil.ReadValues([]byte(test.values))
			if err != nil {
				t.Fatal(err)
			}
			_, err = chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "alice"}, nil)
			switch {
			case test.err == "" && err != nil:
				t.Errorf("rejected, although %s: %v", test.reason, err)
			case test.err != "" && err == nil:
				t.Errorf("accepted, although %s", test.reason)
			case test.err != "" && !strings.Contains(err.Error(), test.err):
				t.Errorf("the error does not name %q: %v", test.err, err)
			}
		})
	}
}

func TestSpecsOfExamplesAreValues(t *testing.T) {
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../../../examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, example := range examples {
		raw, err := os.ReadFile(example)
		if err != nil {
			t.Fatal(err)
		}
		if err := chartutil.ValidateAgainstSingleSchema(specOf(t, string(raw)), chart.Schema); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}
