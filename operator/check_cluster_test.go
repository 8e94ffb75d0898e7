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

// Without a control plane, the tests that need one fail or are skipped, and the results of the others may be cached.
func TestMain(m *testing.M) {
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		if err := apiservertest.NotCached(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// cluster is a real API server to which users with different permissions connect.
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

// kubeconfig creates a user with the permissions in rules and returns the path of its kubeconfig.
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

func allow(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

// snapshot returns all objects that the command could have changed, with their resource versions.
func (c *cluster) snapshot() []string {
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
	reads := c.kubeconfig("reads", allow("", "namespaces", "get", "list"), allow(v1alpha1.GroupVersion.Group, "jupyterservers", "list"), allow("", "configmaps", "list"))
	servers := c.kubeconfig("servers", allow(v1alpha1.GroupVersion.Group, "jupyterservers", "list"))
	namespaces := c.kubeconfig("namespaces", allow("", "namespaces", "list"))
	settings := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(settings, []byte(`policies: {namespaces: [{selector: {matchLabels: {open: "true"}}, rules: {auth-none: {allow: true}}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	before := c.snapshot()
	for _, test := range []struct {
		reason string
		as     string
		args   []string
		want   []string // servers, each with its state or the rule that denies it
		err    string   // in the error
		code   int
	}{
		{
			reason: "all servers are evaluated with the routes of all, except one that cannot be read", as: reads,
			want: []string{"art/alice route-taken", "art/open auth-none", "broken/dave notEvaluated", "science/carol route-taken"}, err: "broken/dave: the spec contains a value", code: 2,
		},
		{
			reason: "servers of other namespaces are omitted", as: reads, args: []string{"--namespaces", "art,empty,art"},
			want: []string{"art/alice compliant", "art/open auth-none"}, err: "violations", code: 1,
		},
		{
			reason: "settings select namespaces by label", as: reads, args: []string{"--namespaces", "art", "--config", settings},
			want: []string{"art/alice compliant", "art/open compliant"},
		},
		{
			reason: "rules of the cluster", as: reads, args: []string{"--namespaces", "art", "--config", settings, "--policies-namespace", "rules"},
			want: []string{"art/alice compliant", "art/open team-label"}, err: "violations", code: 1,
		},
		{reason: "a namespace without servers", as: reads, args: []string{"--namespaces", "empty"}},
		{reason: "a missing namespace is an error", as: reads, args: []string{"--namespaces", "arts"}, err: `reading the namespace arts: namespaces "arts" not found`, code: 2},
		{reason: "a namespace without rules is an error", as: reads, args: []string{"--policies-namespace", "empty"}, err: "has no ConfigMap with the label", code: 2},
		{reason: "a missing context", as: reads, args: []string{"--context", "nowhere"}, err: "nowhere", code: 2},
		{reason: "listing namespaces is forbidden", as: servers, err: "you are not allowed to list namespaces, whose labels rules and settings may use: ask for that permission, or limit", code: 2},
		{reason: "getting a namespace is forbidden", as: servers, args: []string{"--namespaces", "art"}, err: "you are not allowed to get the namespace art", code: 2},
		{reason: "listing servers is forbidden", as: namespaces, err: "listing the JupyterServers of all namespaces", code: 2},
	} {
		t.Run(test.reason, func(t *testing.T) {
			out, err := execute(t, "", append([]string{"check", "--all", "-o", "json", "--kubeconfig", test.as}, test.args...)...)
			var exit *exitError
			if errors.As(err, &exit) != (test.code != 0) || exit != nil && (exit.code != test.code || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got %v, want exit code %d and %q", err, test.code, test.err)
			}
			if got := states(t, out); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("SARIF results of a cluster have no physical location", func(t *testing.T) {
		out, _ := execute(t, "", "check", "--all", "-o", "sarif", "--kubeconfig", reads)
		if !json.Valid([]byte(out)) || strings.Contains(out, "physicalLocation") || !strings.Contains(out, `"science/JupyterServer/carol: spec.routing.path"`) {
			t.Errorf("got:\n%s", out)
		}
	})
	t.Run("a list longer than a page is read completely", func(t *testing.T) {
		seen, err := clusterNamespaces(t.Context(), c.client, nil)
		all := &corev1.NamespaceList{}
		if listErr := c.client.List(t.Context(), all); err != nil || listErr != nil || len(all.Items) <= page || len(seen) != len(all.Items) {
			t.Errorf("%d of %d namespaces: %v", len(seen), len(all.Items), errors.Join(err, listErr))
		}
	})
	if after := c.snapshot(); !slices.Equal(after, before) {
		t.Errorf("the cluster was %q, and is %q", before, after)
	}
}

// states returns the servers of an output, each with its state or the rule that denies it.
func states(t *testing.T, out string) []string {
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
		state := s.State
		for _, v := range s.Verdicts {
			if v.Severity == "deny" {
				state = v.ID
			}
		}
		servers = append(servers, s.Namespace+"/"+s.Name+" "+state)
	}
	return servers
}
