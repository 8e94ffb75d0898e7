// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"reflect"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// TestDefaultIsTheChartsConfiguration checks that the defaults are the same as those in helm-chart/values.yaml.
func TestDefaultIsTheChartsConfiguration(t *testing.T) {
	chart, err := loader.LoadDir("../../../helm-chart")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"image": map[string]any{"repository": "registry.example.org/operator"}}
	top, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "jupyter-server-operator", Namespace: "jupyter"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{}.Render(chart, top)
	if err != nil {
		t.Fatal(err)
	}
	var got corev1.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(files[chart.Name()+"/templates/configmap.yaml"]), &got); err != nil {
		t.Fatal(err)
	}
	parsed, err := config.Parse([]byte(got.Data["config.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	if len(parsed.NetworkPolicy.IngressFrom) == 0 {
		parsed.NetworkPolicy.IngressFrom = want.NetworkPolicy.IngressFrom // [] and nil are equivalent
	}
	if len(parsed.Access.Profiles) == 0 {
		parsed.Access.Profiles = want.Access.Profiles
	}
	if p := parsed.Policies; len(p.Namespaces)+len(p.Exemptions)+len(p.Custom) == 0 {
		parsed.Policies = policies.Config{Rules: p.Rules}
	}
	// Values derived from the chart's release; the chart's golden files cover them.
	parsed.Access.AuthorizationImage = want.Access.AuthorizationImage
	parsed.NetworkPolicy.OperatorFrom = want.NetworkPolicy.OperatorFrom
	if !reflect.DeepEqual(parsed, want) {
		t.Errorf("values.yaml results in %+v, but the operator's default is %+v", parsed, want)
	}
}
