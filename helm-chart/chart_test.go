// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package helmchart_test tests the chart of the operator. The goldens in testdata consist of a comment, the values and the output.
// `go test ./helm-chart -update` rewrites the outputs.
package helmchart_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/test/golden"
)

const image = "image: {repository: registry.example.org/operator}\n"

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render returns the objects in Helm's install order.
func render(t *testing.T, values string) ([]releaseutil.Manifest, error) {
	t.Helper()
	return renderAs(t, "jupyter-server-operator", values)
}

// renderAs renders with a release name.
func renderAs(t *testing.T, name, values string) ([]releaseutil.Manifest, error) {
	t.Helper()
	c := load(t)
	read, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	options := chartutil.ReleaseOptions{Name: name, Namespace: "jupyter", IsInstall: true}
	top, err := chartutil.ToRenderValues(c, read, options, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{}.Render(c, top)
	if err != nil {
		return nil, err
	}
	delete(files, c.Name()+"/templates/NOTES.txt")
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	return manifests, err
}

func mustRender(t *testing.T, values string) []releaseutil.Manifest {
	t.Helper()
	return mustRenderAs(t, "jupyter-server-operator", values)
}

func mustRenderAs(t *testing.T, name, values string) []releaseutil.Manifest {
	t.Helper()
	manifests, err := renderAs(t, name, values)
	if err != nil {
		t.Fatal(err)
	}
	return manifests
}

// find decodes the first object of a kind.
func find(t *testing.T, manifests []releaseutil.Manifest, kind string, into any) {
	t.Helper()
	for _, m := range manifests {
		if m.Head.Kind != kind {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(m.Content), into); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		return
	}
	t.Fatalf("no %s was rendered", kind)
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, _, _ := strings.Cut(string(raw), "-- output --\n")
			_, values, found := strings.Cut(input, "-- values --\n")
			if !found {
				t.Fatal("no line `-- values --`")
			}
			var got strings.Builder
			for _, m := range mustRender(t, values) {
				got.WriteString("---\n" + shorten(m) + "\n")
			}
			golden.Check(t, file, input+"-- output --\n"+got.String())
		})
	}
}

// shorten omits the spec of the CRD, which has a separate test.
func shorten(m releaseutil.Manifest) string {
	if m.Head.Kind != "CustomResourceDefinition" {
		return m.Content
	}
	head, _, _ := strings.Cut(m.Content, "\nspec:\n")
	return head + "\nspec: # ..."
}

func TestCRDEqualsThatOfTheOperator(t *testing.T) {
	var want apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(schema.CRD, &want); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []string{"true", "false"} {
		var got apiextensionsv1.CustomResourceDefinition
		find(t, mustRender(t, image+"crds: {keep: "+keep+"}"), "CustomResourceDefinition", &got)
		if !reflect.DeepEqual(got.Spec, want.Spec) || got.Name != want.Name {
			t.Error("the chart's CRD is not the operator's: run `make generate`")
		}
		if policy := got.Annotations["helm.sh/resource-policy"]; (policy == "keep") != (keep == "true") {
			t.Errorf("crds.keep %s results in the resource policy %q", keep, policy)
		}
	}
	for _, m := range mustRender(t, image+"crds: {enabled: false}") {
		if m.Head.Kind == "CustomResourceDefinition" {
			t.Error("crds.enabled false renders the CRD")
		}
	}
}

// Helm stores a release with its chart in one Secret, which the API server limits to 1 MiB.
func TestReleaseFitsIntoASecret(t *testing.T) {
	var manifest strings.Builder
	for _, m := range mustRender(t, image) {
		manifest.WriteString("---\n" + m.Content + "\n")
	}
	raw, err := json.Marshal(helmrelease.Release{Name: "jupyter-server-operator", Chart: load(t), Manifest: manifest.String()})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	size := base64.StdEncoding.EncodedLen(packed.Len())
	t.Logf("%d bytes", size)
	if size > corev1.MaxSecretSize/2 {
		t.Errorf("a release record has %d bytes, too near the limit of %d", size, corev1.MaxSecretSize)
	}
}

// values.yaml lists every rule and every setting with its default.
func TestDefaultPoliciesAreListed(t *testing.T) {
	var got struct {
		Rules                          json.RawMessage
		Namespaces, Exemptions, Custom json.RawMessage
	}
	into(t, load(t).Values["config"].(map[string]any)["policies"], &got)
	var gotRules, wantRules map[string]any
	into(t, got.Rules, &gotRules)
	into(t, policies.Default().Rules, &wantRules)
	for id, want := range wantRules {
		if !reflect.DeepEqual(gotRules[id], want) {
			t.Errorf("values.yaml has %v for the rule %s, the default is %v", gotRules[id], id, want)
		}
	}
	if len(gotRules) != len(wantRules) || string(got.Namespaces) != "[]" || string(got.Exemptions) != "[]" || string(got.Custom) != "{}" {
		t.Errorf("values.yaml has more than the default: %d rules, namespaces %s, exemptions %s, custom %s",
			len(gotRules), got.Namespaces, got.Exemptions, got.Custom)
	}
}

// Helm rejects values that values.schema.json does not know, so it must know all settings of the operator.
func TestPoliciesAreInTheSchema(t *testing.T) {
	defaults, err := json.Marshal(policies.Default().Rules)
	if err != nil {
		t.Fatal(err)
	}
	values := image + "config: {policies: {rules: " + string(defaults) + `, namespaces: [{selector: {matchLabels: {a: b}}, rules: ` +
		string(defaults) + `}], exemptions: [{rules: [hosts], servers: [a/b], reason: c}], custom: {own: {severity: audit}}}}`
	if _, err := render(t, values); err != nil {
		t.Errorf("the defaults are rejected: %v", err)
	}
	var rules map[string]map[string]any
	into(t, policies.Default().Rules, &rules)
	for id, settings := range rules {
		checkNotCustom(t, id)
		for setting := range settings {
			misspelt := fmt.Sprintf("%sconfig: {policies: {rules: {%s: {%s: [{}]}}}}", image, id, setting)
			if _, err := render(t, misspelt); err == nil || !strings.Contains(err.Error(), setting) {
				t.Errorf("a list of objects as %s of the rule %s results in the error %v", setting, id, err)
			}
		}
		if _, err := render(t, fmt.Sprintf("%sconfig: {policies: {rules: {%s: {misspelt: 1}}}}", image, id)); err == nil {
			t.Errorf("a misspelt setting of the rule %s is accepted", id)
		}
	}
	checkNotCustom(t, "oidc-intact")
}

// checkNotCustom checks that a built-in rule is rejected in config.policies.custom, where it would keep the operator from starting.
func checkNotCustom(t *testing.T, id string) {
	t.Helper()
	if _, err := render(t, fmt.Sprintf("%sconfig: {policies: {custom: {%s: {severity: audit}}}}", image, id)); err == nil || !strings.Contains(err.Error(), "/config/policies/custom/"+id) {
		t.Errorf("the built-in rule %s as custom rule results in the error %v", id, err)
	}
}

// into converts by way of JSON.
func into(t *testing.T, from, to any) {
	t.Helper()
	raw, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Fields that the operator sets survive an upgrade only if the chart does not set them.
func TestCertificatesAreNotSetByTheChart(t *testing.T) {
	manifests := mustRender(t, image)
	var configuration admissionregistrationv1.ValidatingWebhookConfiguration
	find(t, manifests, "ValidatingWebhookConfiguration", &configuration)
	for _, hook := range configuration.Webhooks {
		if hook.ClientConfig.CABundle != nil {
			t.Error("the chart sets a caBundle")
		}
	}
	var secret corev1.Secret
	find(t, manifests, "Secret", &secret)
	if secret.Data != nil || secret.StringData != nil {
		t.Error("the chart sets content of the Secret")
	}
}

// The names in the operator's arguments and those of the objects are computed in different places.
func TestWebhookNames(t *testing.T) {
	for _, values := range []string{image, image + "fullnameOverride: " + strings.Repeat("long-", 12) + "name"} {
		manifests := mustRender(t, values)
		var (
			configuration admissionregistrationv1.ValidatingWebhookConfiguration
			service       corev1.Service
			secret        corev1.Secret
			deployment    appsv1.Deployment
		)
		find(t, manifests, "ValidatingWebhookConfiguration", &configuration)
		find(t, manifests, "Secret", &secret)
		find(t, manifests, "Deployment", &deployment)
		for _, m := range manifests {
			if m.Head.Kind == "Service" && strings.Contains(m.Content, "targetPort: webhook") {
				into(t, yamlOf(t, m), &service)
			}
		}
		named := configuration.Webhooks[0].ClientConfig.Service
		if *named.Path != "/validate-jupyterserver" || named.Name != service.Name || named.Namespace != service.Namespace || *named.Port != service.Spec.Ports[0].Port {
			t.Errorf("the API server calls %+v, but the Service is %s/%s", named, service.Namespace, service.Name)
		}
		if configuration.Name != service.Name || secret.Name != service.Name {
			t.Errorf("the names %s, %s and %s differ", configuration.Name, service.Name, secret.Name)
		}
		argument := "--webhook-service=" + service.Namespace + "/" + service.Name
		if args := deployment.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, argument) || len(service.Name) > 63 {
			t.Errorf("%q is not among %q", argument, args)
		}
	}
}

func yamlOf(t *testing.T, m releaseutil.Manifest) (out any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(m.Content), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// A change of the configuration restarts the operator, which reads it only at start.
func TestConfigurationRollsTheDeployment(t *testing.T) {
	var before, after appsv1.Deployment
	find(t, mustRender(t, image), "Deployment", &before)
	find(t, mustRender(t, image+"config: {policies: {rules: {auth-none: {allow: true}}}}"), "Deployment", &after)
	if reflect.DeepEqual(before.Spec.Template, after.Spec.Template) {
		t.Error("the pod does not change with the configuration")
	}
}

// The restricted Pod Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
func TestPodIsRestricted(t *testing.T) {
	var deployment appsv1.Deployment
	find(t, mustRender(t, image), "Deployment", &deployment)
	pod := deployment.Spec.Template.Spec
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the pod uses namespaces of the host")
	}
	if sc := pod.SecurityContext; sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || sc.RunAsUser == nil || *sc.RunAsUser == 0 ||
		sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the security context of the pod is %+v", pod.SecurityContext)
	}
	for _, volume := range pod.Volumes {
		if volume.ConfigMap == nil {
			t.Errorf("volume %s is not a ConfigMap", volume.Name)
		}
	}
	for _, container := range pod.Containers {
		sc := container.SecurityContext
		if sc == nil || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation ||
			sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem ||
			sc.Capabilities == nil || !reflect.DeepEqual(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 {
			t.Errorf("the security context of container %s is %+v", container.Name, sc)
		}
	}
}

// The shard selectors of the operator and of the webhook have different syntaxes.
func TestShardIsTheSameEverywhere(t *testing.T) {
	const expressions = "[{key: a, operator: In, values: [b, c]}, {key: d, operator: NotIn, values: [e]}, {key: f.g/h, operator: Exists}, {key: i, operator: DoesNotExist}]"
	for _, values := range []string{"{matchLabels: {a: b, c: ''}}", "{matchExpressions: " + expressions + "}", "{matchLabels: {a: b}, matchExpressions: " + expressions + "}"} {
		manifests := mustRender(t, image+"shardSelector: "+values)
		var (
			configuration admissionregistrationv1.ValidatingWebhookConfiguration
			deployment    appsv1.Deployment
		)
		find(t, manifests, "ValidatingWebhookConfiguration", &configuration)
		find(t, manifests, "Deployment", &deployment)
		want, err := metav1.LabelSelectorAsSelector(configuration.Webhooks[0].ObjectSelector)
		if err != nil {
			t.Fatal(err)
		}
		for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
			flag, value, _ := strings.Cut(arg, "=")
			if flag != "--shard-selector" {
				continue
			}
			got, err := labels.Parse(value)
			if err != nil || got.String() != want.String() {
				t.Errorf("the operator selects %q (%v), the webhook selects %q", value, err, want)
			}
			want = nil
		}
		if want != nil {
			t.Errorf("the operator has no selector for the shard %s", values)
		}
	}
}

// Two releases can share a cluster and a namespace.
func TestReleasesHaveDistinctNames(t *testing.T) {
	const second = "crds: {enabled: false}\n"
	names := map[string]bool{}
	for _, m := range mustRender(t, image+second) {
		names[m.Head.Kind+"/"+m.Head.Metadata.Name] = true
	}
	for _, m := range mustRenderAs(t, "gold", image+second) {
		if name := m.Head.Kind + "/" + m.Head.Metadata.Name; names[name] {
			t.Errorf("both releases have %s", name)
		}
	}
	arguments := func(manifests []releaseutil.Manifest) (id string) {
		var deployment appsv1.Deployment
		find(t, manifests, "Deployment", &deployment)
		for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
			if strings.HasPrefix(arg, "--leader-election-id=") {
				return arg
			}
		}
		return ""
	}
	if a, b := arguments(mustRender(t, image)), arguments(mustRenderAs(t, "gold", image)); a == b {
		t.Errorf("both releases have the lease %q", a)
	}
}

func TestInvalidValues(t *testing.T) {
	tests := map[string]struct{ values, err string }{
		"no image":             {"", "image.repository is required"},
		"misspelt":             {image + "watchNamespace: [a]", "watchNamespace"},
		"misspelt setting":     {image + "config: {policies: {rules: {auth-none: {allowed: true}}}}", "allowed"},
		"misspelt rule":        {image + "config: {policies: {rules: {host: {}}}}", "host"},
		"severity":             {image + "config: {policies: {rules: {hosts: {severity: error}}}}", "/config/policies/rules/hosts/severity"},
		"exempt without scope": {image + "config: {policies: {exemptions: [{rules: [hosts], reason: a}]}}", "/config/policies/exemptions/0"},
		"failure policy":       {image + "webhook: {failurePolicy: fail}", "/webhook/failurePolicy"},
		"issuer without name":  {image + "webhook: {certificates: {mode: cert-manager, issuerRef: {kind: Issuer}}}", "/webhook/certificates/issuerRef"},
		"issuer without use":   {image + "webhook: {certificates: {issuerRef: {name: a}}}", "/webhook/certificates/issuerRef"},
		"exempt in two ways":   {image + "config: {policies: {exemptions: [{rules: [hosts], namespaces: {matchLabels: {a: b}}, servers: [a/b], reason: c}]}}", "/config/policies/exemptions/0"},
		"exempt from what":     {image + "config: {policies: {exemptions: [{rules: [oidc-intact], servers: [a/b], reason: c}]}}", "/config/policies/exemptions/0/rules/0"},
		"exempt from no id":    {image + "config: {policies: {exemptions: [{rules: [Hosts], servers: [a/b], reason: c}]}}", "/config/policies/exemptions/0/rules/0"},
		"custom rule's ID":     {image + "config: {policies: {custom: {Own: {severity: audit}}}}", "/config/policies/custom"},
		"no port":              {image + "config: {ingress: {httpPort: 70000}}", "/config/ingress/httpPort"},
		"port of the health":   {image + "metrics: {port: 8081}", "/metrics/port"},
		"namespace":            {image + "watchNamespaces: [Team A]", "/watchNamespaces/0"},
		"two same namespaces":  {image + "watchNamespaces: [a, a]", "/watchNamespaces"},
		"two leaders":          {image + "replicaCount: 2\nleaderElection: {enabled: false}", "/replicaCount"},
		"digest":               {"image: {repository: r, digest: abc}", "/image/digest"},
		"shard as text":        {image + "shardSelector: shard=a", "/shardSelector"},
		"shard without value":  {image + "shardSelector: {matchExpressions: [{key: shard, operator: In}]}", "/shardSelector/matchExpressions/0"},
		"shard with operator":  {image + "shardSelector: {matchExpressions: [{key: shard, operator: notin, values: [a]}]}", "/shardSelector/matchExpressions/0/operator"},
		"shard with no label":  {image + "shardSelector: {matchLabels: {shard: a b}}", "/shardSelector/matchLabels/shard"},
		"empty peer":           {image + "networkPolicy: {metricsFrom: [{}]}", "/networkPolicy/metricsFrom/0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, test.values)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.err) {
				t.Errorf("the error does not contain %q: %v", test.err, err)
			}
		})
	}
}
