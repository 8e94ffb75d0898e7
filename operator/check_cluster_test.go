// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// cluster is a real API server, with people of different rights.
type cluster struct {
	*testing.T
	env    *envtest.Environment
	client client.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	env, cfg, err := apiservertest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Stop() })
	c, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t, env, c}
}

func (c *cluster) apply(manifests string) {
	c.Helper()
	for document := range strings.SplitSeq(manifests, "---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), o); err != nil {
			c.Fatal(err)
		}
		if err := c.client.Create(c.Context(), o); err != nil {
			c.Fatal(err)
		}
	}
}

// kubeconfig is that of a new person, who may do what the rules say.
func (c *cluster) kubeconfig(name string, rules ...rbacv1.PolicyRule) string {
	c.Helper()
	user, err := c.env.AddUser(envtest.User{Name: name}, &rest.Config{})
	if err != nil {
		c.Fatal(err)
	}
	text, err := user.KubeConfig()
	if err != nil {
		c.Fatal(err)
	}
	file := filepath.Join(c.TempDir(), name)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
	}
	if err := errors.Join(os.WriteFile(file, text, 0o600), c.client.Create(c.Context(), role), c.client.Create(c.Context(), binding)); err != nil {
		c.Fatal(err)
	}
	return file
}

func may(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

// everything is all that the command could have written to, with the resource versions.
func (c *cluster) everything() []string {
	c.Helper()
	var seen []string
	for _, kind := range []string{"v1/Namespace", "v1/ConfigMap", "v1/Secret", "v1/Event", v1alpha1.GroupVersion.String() + "/" + v1alpha1.Kind} {
		list := &unstructured.UnstructuredList{}
		i := strings.LastIndex(kind, "/")
		list.SetAPIVersion(kind[:i])
		list.SetKind(kind[i+1:] + "List")
		if err := c.client.List(c.Context(), list); err != nil {
			c.Fatal(err)
		}
		for _, o := range list.Items {
			seen = append(seen, fmt.Sprintf("%s %s/%s %s", kind, o.GetNamespace(), o.GetName(), o.GetResourceVersion()))
		}
	}
	slices.Sort(seen)
	return seen
}

const clusterObjects = `{apiVersion: v1, kind: Namespace, metadata: {name: art, labels: {open: "true"}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: science}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: broken}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: empty}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: rules}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: own, namespace: rules, labels: {jupyterserver.dev/policies: "true"}}
data:
  labels.rego: |
    package jupyterserver.custom.labels

    verdicts contains {"id": "team-label", "message": "the label team is missing", "path": "metadata.labels"} if {
    	input.object.kind == "JupyterServer"
    	object.get(input.object.metadata, ["labels", "team"], "") == ""
    }
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: other, namespace: rules}, data: {a.rego: nonsense}}
---
{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: alice, namespace: art, labels: {team: a}}, spec: {routing: {host: a.example.org, path: /alice}}}
---
{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: open, namespace: art}, spec: {auth: {mode: none}, routing: {host: a.example.org, path: /open}}}
---
{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: carol, namespace: science}, spec: {routing: {host: a.example.org, path: /alice}}}
---
{apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: dave, namespace: broken}, spec: {routing: {host: b.example.org}, pod: {containers: [{name: x, resources: {limits: {memory: "1e1.5"}}}]}}}`

func TestCheckAll(t *testing.T) {
	c := newCluster(t)
	c.apply(clusterObjects)
	const page = 500
	for i := range page {
		c.apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: page-%d}}", i))
	}
	reads := c.kubeconfig("reads", may("", "namespaces", "get", "list"), may(v1alpha1.GroupVersion.Group, "jupyterservers", "list"), may("", "configmaps", "list"))
	servers := c.kubeconfig("servers", may(v1alpha1.GroupVersion.Group, "jupyterservers", "list"))
	namespaces := c.kubeconfig("namespaces", may("", "namespaces", "list"))
	settings := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(settings, []byte(`policies: {namespaces: [{selector: {matchLabels: {open: "true"}}, rules: {auth-none: {allow: true}}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	before := c.everything()
	for _, test := range []struct {
		reason string
		as     string
		args   []string
		want   []string // servers with what is said of them: their state, or a rule that refuses them
		err    string   // in the error
		code   int
	}{
		{
			reason: "all servers are judged, each with the routes of all, but for one that cannot be read", as: reads,
			want: []string{"art/alice route-taken", "art/open auth-none", "broken/dave notEvaluated", "science/carol route-taken"}, err: "broken/dave: the spec holds a value", code: 2,
		},
		{
			reason: "servers of other namespaces are left out", as: reads, args: []string{"--namespaces", "art,empty,art"},
			want: []string{"art/alice compliant", "art/open auth-none"}, err: "refuses", code: 1,
		},
		{
			reason: "settings go by the labels of namespaces", as: reads, args: []string{"--namespaces", "art", "--config", settings},
			want: []string{"art/alice compliant", "art/open compliant"},
		},
		{
			reason: "rules of the cluster", as: reads, args: []string{"--namespaces", "art", "--config", settings, "--policies-namespace", "rules"},
			want: []string{"art/alice compliant", "art/open team-label"}, err: "refuses", code: 1,
		},
		{reason: "a namespace without servers", as: reads, args: []string{"--namespaces", "empty"}},
		{reason: "a namespace that is not there is a slip", as: reads, args: []string{"--namespaces", "arts"}, err: `reading the namespace arts: namespaces "arts" not found`, code: 2},
		{reason: "a namespace without rules is a slip", as: reads, args: []string{"--policies-namespace", "empty"}, err: "has no ConfigMap with the label", code: 2},
		{reason: "a context that is not there", as: reads, args: []string{"--context", "nowhere"}, err: "nowhere", code: 2},
		{reason: "without the namespaces there is no answer", as: servers, err: "you may not list namespaces, whose labels rules and settings may look at: get that right, or name", code: 2},
		{reason: "without one of the namespaces there is none either", as: servers, args: []string{"--namespaces", "art"}, err: "you may not read the namespace art", code: 2},
		{reason: "without the servers there is no answer", as: namespaces, err: "listing the JupyterServers of all namespaces", code: 2},
	} {
		t.Run(test.reason, func(t *testing.T) {
			out, err := execute(t, "", append([]string{"check", "--all", "-o", "json", "--kubeconfig", test.as}, test.args...)...)
			var exit *exitError
			if errors.As(err, &exit) != (test.code != 0) || exit != nil && (exit.code != test.code || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got %v, want exit code %d and %q", err, test.code, test.err)
			}
			if got := said(t, out); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("what is in no file has no place in one", func(t *testing.T) {
		out, _ := execute(t, "", "check", "--all", "-o", "sarif", "--kubeconfig", reads)
		if !json.Valid([]byte(out)) || strings.Contains(out, "physicalLocation") || !strings.Contains(out, `"science/JupyterServer/carol: spec.routing.path"`) {
			t.Errorf("got:\n%s", out)
		}
	})
	t.Run("a list that is longer than a page is read to its end", func(t *testing.T) {
		seen, err := clusterNamespaces(t.Context(), c.client, nil)
		all := &corev1.NamespaceList{}
		if listErr := c.client.List(t.Context(), all); err != nil || listErr != nil || len(all.Items) <= page || len(seen) != len(all.Items) {
			t.Errorf("%d of %d namespaces: %v", len(seen), len(all.Items), errors.Join(err, listErr))
		}
	})
	if after := c.everything(); !slices.Equal(after, before) {
		t.Errorf("the cluster was %q, and is %q", before, after)
	}
}

// said are the servers of an output, each with its state, or the rule that refuses it.
func said(t *testing.T, out string) []string {
	t.Helper()
	if out == "" {
		return nil
	}
	var result struct {
		Servers []struct {
			Namespace, Name, State string
			Verdicts               []struct{ ID, Severity string }
		}
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var servers []string
	for _, s := range result.Servers {
		said := s.State
		for _, v := range s.Verdicts {
			if v.Severity == "deny" {
				said = v.ID
			}
		}
		servers = append(servers, s.Namespace+"/"+s.Name+" "+said)
	}
	return servers
}
