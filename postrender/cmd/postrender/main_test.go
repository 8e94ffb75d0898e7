// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const stream = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: alice, annotations: {internal.config.kubernetes.io/path: set.yaml}}
spec: {template: {spec: {containers: [{name: jupyter}]}}}
---
# The route.
apiVersion: v1
kind: Service
metadata: {name: alice}
spec: {ports: [{port: 80}]}
---
apiVersion: postrender.jupyterserver.dev/v1alpha1
kind: AccessProxy
metadata: {name: alice, annotations: {config.kubernetes.io/local-config: "true"}}
spec:
  host: jupyter.example.org
  path: /
  url: http://jupyter.example.org/
  oidc: {issuerUrl: "https://accounts.example.org", clientId: jupyter, scopes: [openid], allow: {anyAuthenticated: true}}
  cookieSecret: {name: alice-jupyter, key: cookie-secret}
  proxyImage: traefik
  authorizationImage: operator
  imagePullPolicy: Always
  profile: oauth2-proxy
`

func TestManifests(t *testing.T) {
	var out bytes.Buffer
	if err := run(nil, strings.NewReader(stream), &out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"name: access-proxy", "# The route.", "targetPort: 8000", "name: alice-access-rules"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the output lacks %q:\n%s", part, out.String())
		}
	}
	if strings.Contains(out.String(), "AccessProxy") {
		t.Errorf("the AccessProxy object is still there:\n%s", out.String())
	}
}

// A ResourceList is returned as one, with the new objects and without the AccessProxy object.
func TestResourceList(t *testing.T) {
	var list strings.Builder
	list.WriteString("apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: {kind: ConfigMap, metadata: {name: x}}\nitems:\n")
	for document := range strings.SplitSeq(stream, "---\n") {
		list.WriteString("  -\n    " + strings.ReplaceAll(strings.TrimSpace(document), "\n", "\n    ") + "\n")
	}
	var out bytes.Buffer
	if err := run(nil, strings.NewReader(list.String()), &out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Kind  string
		Items []struct {
			Kind     string
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, item := range got.Items {
		kinds = append(kinds, item.Kind)
	}
	if got.Kind != "ResourceList" || strings.Join(kinds, " ") != "ConfigMap ConfigMap StatefulSet Service" {
		t.Errorf("got a %s of %v:\n%s", got.Kind, kinds, out.String())
	}
	if path := got.Items[2].Metadata.Annotations["internal.config.kubernetes.io/path"]; path != "set.yaml" {
		t.Errorf("the StatefulSet lost the annotation with its file: %q", path)
	}
}

func TestErrorsLeaveNoOutput(t *testing.T) {
	for _, tc := range []struct {
		reason, in string
		args       []string
		want       string
	}{
		{"not YAML", "a: [", nil, "document 1"},
		{"nothing to protect", strings.Split(stream, "---\n")[2], nil, "AccessProxy alice"},
		{"a ResourceList with nothing to protect", "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n  - {apiVersion: postrender.jupyterserver.dev/v1alpha1, kind: AccessProxy, metadata: {name: a}}\n", nil, "AccessProxy"},
		{"arguments", "", []string{"-f", "x"}, `unexpected argument "-f"`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var out bytes.Buffer
			err := run(tc.args, strings.NewReader(tc.in), &out)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || out.Len() > 0 {
				t.Errorf("got %q, %v", out.String(), err)
			}
		})
	}
}

// The plugin of Helm 4 names the program that `make build` builds.
func TestPluginNamesTheProgram(t *testing.T) {
	raw, err := os.ReadFile("../../plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		Type          string `yaml:"type"`
		RuntimeConfig struct {
			PlatformCommand []struct {
				Command string `yaml:"command"`
			} `yaml:"platformCommand"`
		} `yaml:"runtimeConfig"`
	}
	if err := yaml.Unmarshal(raw, &plugin); err != nil {
		t.Fatal(err)
	}
	if plugin.Type != "postrenderer/v1" || len(plugin.RuntimeConfig.PlatformCommand) != 1 || plugin.RuntimeConfig.PlatformCommand[0].Command != "${HELM_PLUGIN_DIR}/bin/postrender" {
		t.Errorf("got %+v", plugin)
	}
}
