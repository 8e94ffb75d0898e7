// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
)

func TestServerRunsCellsWithTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice")
	server := w.running("alice")
	if want := "http://" + w.host() + ":8000/alice/"; server.Status.URL != want {
		t.Errorf("status.url %q, want %q", server.Status.URL, want)
	}
	if row := w.kubectl("get", "js", "alice"); !strings.Contains(row, "Running") || !strings.Contains(row, server.Status.URL) {
		t.Errorf("kubectl get js lacks the state or the URL:\n%s", row)
	}
	alice := w.answers(server, w.token("alice"))
	if got := w.cell(alice, "6*7").Result; got != "42" {
		t.Errorf("6*7 is %q, want 42", got)
	}
	if got := w.cell(alice, "print('hello')").Stream; got != "hello\n" {
		t.Errorf("print gave %q, want hello", got)
	}
	for reason, token := range map[string]string{"no token": "", "a wrong token": "0" + w.token("alice")} {
		w.checkTokenDenied(w.jupyter(server, token), reason)
	}
}

// checkTokenDenied checks that the REST API and a kernel's WebSocket deny a client.
func (w *world) checkTokenDenied(client *jupyter.Client, reason string) {
	w.Helper()
	err := w.ask(client.Status)
	if jupyter.Code(err) != 403 {
		w.Errorf("GET api/status with %s: %v, want HTTP status 403", reason, err)
	}
	err = w.ask(func(ctx context.Context) error {
		_, err := client.Execute(ctx, "00000000-0000-0000-0000-000000000000", "6*7")
		return err
	})
	if jupyter.Code(err) != 403 {
		w.Errorf("the WebSocket of a kernel with %s: %v, want HTTP status 403", reason, err)
	}
}

func TestTokensAreOnlyInSecrets(t *testing.T) {
	t.Parallel()
	const inline = "an-inline-token-of-bob-0123456789abcdef"
	w := newWorld(t)
	w.apply("alice")
	w.apply("bob", `auth: {mode: token, token: {value: `+inline+`}}`)
	w.running("alice")
	w.answers(w.running("bob"), inline)
	w.apply("alice", `jupyterServer: {env: [{name: GREETING, value: hello}]}`) // a second revision
	w.answers(w.running("alice"), w.token("alice"))

	seen := map[string]string{
		"the operator's log":  w.kubectl("logs", "-n", operatorNamespace, "deployment/"+operatorDeployment, "--tail=-1"),
		"alice":               w.kubectl("get", "jupyterserver", "alice", "-o", "yaml", "--show-managed-fields"),
		"alice, described":    w.kubectl("describe", "jupyterserver", "alice"),
		"the release records": w.releaseRecords(),
	}
	for _, kind := range []string{"statefulsets", "controllerrevisions", "pods", "services", "endpointslices", "ingresses", "networkpolicies", "configmaps", "persistentvolumeclaims", "events"} {
		seen[kind] = w.kubectl("get", kind, "-o", "yaml", "--show-managed-fields")
	}
	for _, name := range []string{"alice", "bob"} {
		seen["helm get all "+name] = w.helm("get", "all", name)
		seen["the log of "+name] = w.kubectl("logs", name+"-0", "--all-containers")
		seen["the arguments of "+name] = w.kubectl("exec", name+"-0", "--", "cat", "/proc/1/cmdline")
	}
	for name, token := range map[string]string{"alice": w.token("alice"), "bob": w.token("bob")} {
		for where, text := range seen {
			for _, form := range []string{token, base64.StdEncoding.EncodeToString([]byte(token))} {
				if at := strings.Index(text, form); at >= 0 {
					w.Errorf("the token of %s is in %s: …%s<here>", name, where, text[max(0, at-200):at])
				}
			}
		}
	}
	if got := w.token("bob"); got != inline {
		t.Errorf("the token of bob is not that of the spec but has %d characters", len(got))
	}
	for where, text := range seen {
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s: empty, so nothing was checked", where)
		}
	}
}

// releaseRecords returns Helm's decoded release records of the namespace (helm.sh/helm/v3/pkg/storage/driver/util.go).
func (w *world) releaseRecords() string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	list := &corev1.SecretList{}
	if err := suite.client.List(ctx, list, client.InNamespace(w.namespace), client.MatchingLabels{"owner": "helm"}); err != nil {
		w.Fatal(err)
	}
	var out strings.Builder
	for _, secret := range list.Items {
		packed, err := base64.StdEncoding.DecodeString(string(secret.Data["release"]))
		if err != nil {
			w.Fatalf("record %s: %v", secret.Name, err)
		}
		reader, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			w.Fatalf("record %s: %v", secret.Name, err)
		}
		if _, err := io.Copy(&out, reader); err != nil {
			w.Fatalf("record %s: %v", secret.Name, err)
		}
	}
	return out.String()
}

func TestStockHelmReadsTheRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", `suspend: true`)
	w.await("alice", "is suspended", soon, inState(v1alpha1.StateSuspended))
	for command, want := range map[string]string{
		"list":               "alice",
		"status alice":       "STATUS: deployed",
		"history alice":      "deployed",
		"get values alice":   "path: /alice",
		"get manifest alice": "kind: StatefulSet",
		"get notes alice":    "JupyterServer",
	} {
		if got := w.helm(strings.Fields(command)...); !strings.Contains(got, want) {
			t.Errorf("helm %s lacks %q:\n%s", command, want, got)
		}
	}
}
