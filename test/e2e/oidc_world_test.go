// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/signin"
)

// needsProvider skips a test where there is no OpenID provider that pods and this machine reach alike.
func (w *world) needsProvider() {
	w.Helper()
	if suite.issuer == "" {
		w.Skip("E2E_ISSUER is `none`: this cluster has no OpenID provider for tests")
	}
}

// oidc is the section auth of a server that people sign in to at the cluster's provider, and the Secret that it names.
func (w *world) oidc(allow string, more ...string) []string {
	w.Helper()
	w.needsProvider()
	w.clientSecret(os.Getenv("E2E_CLIENT_SECRET"))
	section := fmt.Sprintf(`
auth:
  mode: oidc
  oidc:
    issuerUrl: %s
    clientId: jupyter
    clientSecret: {secretKeyRef: {name: client, key: secret}}
    scopes: [openid, email, profile, groups]
    allow: %s
storage: {ephemeral: true}
`, suite.issuer, allow)
	return append([]string{section}, more...)
}

// clientSecret puts what the provider knows the client by into the Secret client.
func (w *world) clientSecret(value string) {
	w.Helper()
	manifest := fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: client}, stringData: {secret: %q}}", value)
	if err := w.tryApply(manifest); err != nil {
		w.Fatal(err)
	}
}

// visitor is a browser without cookies.
func (w *world) visitor() *signin.Agent {
	agent := signin.New()
	w.Cleanup(agent.Close)
	return agent
}

// signIn signs somebody in, whose password is their name, and returns their browser and where it ended up.
func (w *world) signIn(address, user string) (*signin.Agent, signin.Page) {
	w.Helper()
	agent := w.visitor()
	return agent, w.signInAgain(agent, address, user)
}

func (w *world) signInAgain(agent *signin.Agent, address, user string) signin.Page {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	page, err := agent.SignIn(ctx, address, user, user)
	if err != nil {
		w.Fatalf("signing in as %s: %v", user, err)
	}
	return page
}

// enter signs somebody in who is let in, and returns their browser and a client of Jupyter that goes through it.
func (w *world) enter(server *v1alpha1.JupyterServer, user string) (*signin.Agent, *jupyter.Client) {
	w.Helper()
	w.reachable(server)
	agent, page := w.signIn(server.Status.URL, user)
	if page.Status != http.StatusOK {
		w.Fatalf("%s ends up at %s with HTTP status %d: %.300s", user, page.URL, page.Status, page.Body)
	}
	return agent, w.jupyterOf(server, agent)
}

func (w *world) jupyterOf(server *v1alpha1.JupyterServer, agent *signin.Agent) *jupyter.Client {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	client, err := jupyter.NewSignedIn(ctx, server.Status.URL, agent.HTTP)
	if err != nil {
		w.Fatal(err)
	}
	return client
}

// reachable waits until the ingress controller knows the server.
func (w *world) reachable(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.eventually(server.Status.URL+" asks for a session", soon, func() error {
		page := w.request(w.visitor(), http.MethodGet, server.Status.URL+"api/status", nil)
		if page.Status != http.StatusUnauthorized {
			return fmt.Errorf("HTTP status %d", page.Status)
		}
		return nil
	})
}

// request sends a request as a script does.
func (w *world) request(agent *signin.Agent, method, address string, header http.Header) signin.Page {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	page, err := agent.Ask(ctx, method, address, header)
	if err != nil {
		w.Fatal(err)
	}
	return page
}

// open opens a page as a person does.
func (w *world) open(agent *signin.Agent, address string) signin.Page {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	page, err := agent.Open(ctx, address)
	if err != nil {
		w.Fatal(err)
	}
	return page
}

// socket tries to open the websocket of a kernel, and returns the HTTP status that it gets instead, 0 for none.
func (w *world) socket(server *v1alpha1.JupyterServer, agent *signin.Agent) int {
	w.Helper()
	client, err := jupyter.NewThrough(server.Status.URL, agent.HTTP)
	if err != nil {
		w.Fatal(err)
	}
	return jupyter.Code(w.ask(func(ctx context.Context) error {
		_, err := client.Execute(ctx, "00000000-0000-0000-0000-000000000000", "6*7")
		return err
	}))
}

// shutOut checks that neither a page, nor the REST API, nor a websocket lets a browser in, and with which HTTP status.
func (w *world) shutOut(server *v1alpha1.JupyterServer, agent *signin.Agent, who string, page, api int) {
	w.Helper()
	html := http.Header{"Accept": {"text/html"}}
	if got := w.request(agent, http.MethodGet, server.Status.URL+"lab", html).Status; got != page {
		w.Errorf("a page for %s: HTTP status %d, want %d", who, got, page)
	}
	if got := w.request(agent, http.MethodGet, server.Status.URL+"api/status", nil).Status; got != api {
		w.Errorf("GET api/status for %s: HTTP status %d, want %d", who, got, api)
	}
	if got := w.socket(server, agent); got != api {
		w.Errorf("the websocket of a kernel for %s: HTTP status %d, want %d", who, got, api)
	}
}

// podOf is the pod of a server.
func (w *world) podOf(server *v1alpha1.JupyterServer) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{}
	w.get(server.Name+"-0", pod)
	return pod
}

// says waits until the message of a server holds all the words. Without any it waits for no message.
func (w *world) says(name string, limit time.Duration, words ...string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.await(name, fmt.Sprintf("says %v", words), limit, func(server *v1alpha1.JupyterServer) error {
		if len(words) == 0 && server.Status.Message != "" {
			return fmt.Errorf("it says something")
		}
		for _, word := range words {
			if !strings.Contains(server.Status.Message, word) {
				return fmt.Errorf("the message lacks %q", word)
			}
		}
		return nil
	})
}

// required is a variable of the environment that must be set.
func required(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run `make test-e2e`", name)
	}
	return value
}
