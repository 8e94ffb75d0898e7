// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command prove verifies that a Jupyter server works: it starts a kernel over the REST API, computes 6*7 over the WebSocket and
// expects 42.
//
//	JUPYTER_TOKEN=... prove -url http://jupyter.localhost:8000/alice/
//	SIGN_IN_PASSWORD=... prove -url http://jupyter.localhost:8000/alice/ -user alice
//
// Token and password are read from the environment or a file, never from the arguments, which all users of the machine can see.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/signin"
)

const (
	retryInterval = 500 * time.Millisecond
	// firstTimeout is how long the first URL is tried if there is another one.
	firstTimeout = 10 * time.Second
)

func main() {
	server := flag.String("url", os.Getenv("JUPYTER_URL"), "URL of the server (default $JUPYTER_URL)")
	other := flag.String("or", "", "URL to use if the first one is not reachable, such as that of a port-forward")
	user := flag.String("user", "", "sign in as this user of the local cluster's OpenID provider, with the password $SIGN_IN_PASSWORD")
	tokenFile := flag.String("token-file", "", "file with the token (default $JUPYTER_TOKEN)")
	timeout := flag.Duration("timeout", time.Minute, "how long to try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	err := prove(ctx, *server, credentials{*other, *tokenFile, *user})
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// credentials are the alternatives to authenticate and connect.
type credentials struct{ other, tokenFile, user string }

func prove(ctx context.Context, server string, c credentials) error {
	client, version, err := c.connectAs(ctx, server)
	if err != nil {
		return err
	}
	defer client.Close()
	result, err := compute(ctx, client)
	if err != nil {
		return err
	}
	if result != "42" {
		return fmt.Errorf("6*7 is %q, want 42", result)
	}
	fmt.Printf("A kernel of Jupyter Server %s computed 6*7 = %s\n", version, result)
	return nil
}

func (c credentials) connectAs(ctx context.Context, server string) (*jupyter.Client, string, error) {
	if c.user != "" {
		return signIn(ctx, server, c.user, os.Getenv("SIGN_IN_PASSWORD"))
	}
	token, err := readToken(c.tokenFile)
	if err != nil {
		return nil, "", err
	}
	return reach(ctx, server, c.other, token)
}

func signIn(ctx context.Context, server, user, password string) (*jupyter.Client, string, error) {
	agent := signin.New()
	page, err := agent.SignIn(ctx, server, user, password)
	if err != nil {
		return nil, "", err
	}
	if page.Status != http.StatusOK {
		return nil, "", fmt.Errorf("signing in as %s redirects to %s with HTTP status %d", user, page.URL, page.Status)
	}
	client, err := jupyter.NewSignedIn(ctx, server, agent.HTTP)
	if err != nil {
		return nil, "", err
	}
	version, err := client.Version(ctx)
	return client, version, err
}

// reach connects to the server at its URL, or at the other one if that is not reachable.
func reach(ctx context.Context, server, other, token string) (*jupyter.Client, string, error) {
	if other == "" {
		return connect(ctx, server, token)
	}
	short, cancel := context.WithTimeout(ctx, firstTimeout)
	defer cancel()
	client, version, err := connect(short, server, token)
	if err == nil {
		return client, version, nil
	}
	fmt.Printf("%v, using %s instead\n", err, other)
	return connect(ctx, other, token)
}

// connect waits until the server responds: the ingress controller may notice a new server shortly after it is ready.
func connect(ctx context.Context, server, token string) (*jupyter.Client, string, error) {
	client, err := jupyter.New(server, token)
	if err != nil {
		return nil, "", err
	}
	for {
		version, err := client.Version(ctx)
		if err == nil {
			return client, version, nil
		}
		select {
		case <-ctx.Done():
			client.Close()
			return nil, "", fmt.Errorf("%s is not reachable (%w)", server, err)
		case <-time.After(retryInterval):
		}
	}
}

func readToken(file string) (string, error) {
	token := os.Getenv("JUPYTER_TOKEN")
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	if token == "" {
		return "", errors.New("no token: set JUPYTER_TOKEN or -token-file")
	}
	return token, nil
}

func compute(ctx context.Context, client *jupyter.Client) (string, error) {
	kernel, err := client.StartKernel(ctx)
	if err != nil {
		return "", err
	}
	out, err := client.Execute(ctx, kernel, "6*7")
	return out.Result, errors.Join(err, client.DeleteKernel(ctx, kernel))
}
