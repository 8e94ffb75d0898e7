// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
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

// needsProvider skips a test without an OpenID provider that pods and this machine reach.
func (w *world) needsProvider() {
	w.Helper()
	if suite.issuer == "" {
		w.Skip("E2E_ISSUER is `none`: this cluster has no OpenID provider for tests")
	}
}

// oidc returns the section auth of a server with the cluster's provider, and creates the Secret that it references.
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

// clientSecret writes the secret of the client into the Secret client.
func (w *world) clientSecret(value string) {
	w.Helper()
	manifest := fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: client}, stringData: {secret: %q}}", value)
	if err := w.tryApply(manifest); err != nil {
		w.Fatal(err)
	}
}

// visitor returns a browser without cookies.
func (w *world) visitor() *signin.Agent {
	agent := signin.New()
	w.Cleanup(agent.Close)
	return agent
}

// signIn signs in a user whose password is their name, and returns their browser and the resulting page.
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

// enter signs in an allowed user and returns their browser and a client of Jupyter that uses it.
func (w *world) enter(server *v1alpha1.JupyterServer, user string) (*signin.Agent, *jupyter.Client) {
	w.Helper()
	w.reachable(server)
	agent, page := w.signIn(server.Status.URL, user)
	if page.Status != http.StatusOK {
		w.Fatalf("%s is redirected to %s with HTTP status %d: %.300s", user, page.URL, page.Status, page.Body)
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

// reachable waits until the ingress controller routes to the server.
func (w *world) reachable(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.eventually(server.Status.URL+" requires a session", soon, func() error {
		page := w.request(w.visitor(), http.MethodGet, server.Status.URL+"api/status", nil)
		if page.Status != http.StatusUnauthorized {
			return fmt.Errorf("HTTP status %d", page.Status)
		}
		return nil
	})
}

// request sends a request like a script.
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

// open opens a page like a user.
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

// socket tries to open the WebSocket of a kernel and returns the HTTP status of the failure, or 0.
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

// checkDenied checks that pages, the REST API and WebSockets deny a browser, with the given HTTP statuses.
func (w *world) checkDenied(server *v1alpha1.JupyterServer, agent *signin.Agent, user string, page, api int) {
	w.Helper()
	html := http.Header{"Accept": {"text/html"}}
	if got := w.request(agent, http.MethodGet, server.Status.URL+"lab", html).Status; got != page {
		w.Errorf("a page for %s: HTTP status %d, want %d", user, got, page)
	}
	if got := w.request(agent, http.MethodGet, server.Status.URL+"api/status", nil).Status; got != api {
		w.Errorf("GET api/status for %s: HTTP status %d, want %d", user, got, api)
	}
	if got := w.socket(server, agent); got != api {
		w.Errorf("the WebSocket of a kernel for %s: HTTP status %d, want %d", user, got, api)
	}
}

// podOf returns the pod of a server.
func (w *world) podOf(server *v1alpha1.JupyterServer) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{}
	w.get(server.Name+"-0", pod)
	return pod
}

// hasMessage waits until the message of a server contains all words, or is empty without words.
func (w *world) hasMessage(name string, limit time.Duration, words ...string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.await(name, fmt.Sprintf("has the message %v", words), limit, func(server *v1alpha1.JupyterServer) error {
		if len(words) == 0 && server.Status.Message != "" {
			return errors.New("the message is not empty")
		}
		for _, word := range words {
			if !strings.Contains(server.Status.Message, word) {
				return fmt.Errorf("the message lacks %q", word)
			}
		}
		return nil
	})
}

// required returns an environment variable that must be set.
func required(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run `make test-e2e`", name)
	}
	return value
}
