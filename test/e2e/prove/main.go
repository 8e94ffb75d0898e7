// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command prove shows that a Jupyter server works: it starts a kernel over the REST API, computes 6*7 over the websocket
// and expects 42.
//
//	JUPYTER_TOKEN=... prove -url http://jupyter.localhost:8000/alice/
//	SIGN_IN_PASSWORD=... prove -url http://jupyter.localhost:8000/alice/ -user alice
//
// Token and password come from the environment or from a file, never from the arguments, which everybody on the machine can see.
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
	tryEvery = 500 * time.Millisecond
	// firstTry is how long the first URL is tried where there is another one.
	firstTry = 10 * time.Second
)

func main() {
	server := flag.String("url", os.Getenv("JUPYTER_URL"), "URL of the server; without it that of JUPYTER_URL")
	other := flag.String("or", "", "URL to take where the first one does not answer, such as that of a port-forward")
	user := flag.String("user", "", "sign in as this user of the local cluster's OpenID provider, with the password of SIGN_IN_PASSWORD")
	tokenFile := flag.String("token-file", "", "file that holds the token; without it that of JUPYTER_TOKEN")
	timeout := flag.Duration("timeout", time.Minute, "how long to try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	err := prove(ctx, *server, way{*other, *tokenFile, *user})
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// way is how to get in.
type way struct{ other, tokenFile, user string }

func prove(ctx context.Context, server string, w way) error {
	client, version, err := w.enter(ctx, server)
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

func (w way) enter(ctx context.Context, server string) (*jupyter.Client, string, error) {
	if w.user != "" {
		return signIn(ctx, server, w.user, os.Getenv("SIGN_IN_PASSWORD"))
	}
	token, err := readToken(w.tokenFile)
	if err != nil {
		return nil, "", err
	}
	return reach(ctx, server, w.other, token)
}

func signIn(ctx context.Context, server, user, password string) (*jupyter.Client, string, error) {
	agent := signin.New()
	page, err := agent.SignIn(ctx, server, user, password)
	if err != nil {
		return nil, "", err
	}
	if page.Status != http.StatusOK {
		return nil, "", fmt.Errorf("signing in as %s leads to %s with HTTP status %d", user, page.URL, page.Status)
	}
	client, err := jupyter.NewSignedIn(ctx, server, agent.HTTP)
	if err != nil {
		return nil, "", err
	}
	version, err := client.Version(ctx)
	return client, version, err
}

// reach finds a way to the server: its own URL, or, where that leads nowhere from here, the other one.
func reach(ctx context.Context, server, other, token string) (*jupyter.Client, string, error) {
	if other == "" {
		return connect(ctx, server, token)
	}
	short, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	client, version, err := connect(short, server, token)
	if err == nil {
		return client, version, nil
	}
	fmt.Printf("%v, so it is reached at %s\n", err, other)
	return connect(ctx, other, token)
}

// connect waits for the server to answer: the ingress controller may learn of a new server a moment after it is ready.
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
			return nil, "", fmt.Errorf("%s does not answer (%w)", server, err)
		case <-time.After(tryEvery):
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
		return "", errors.New("there is no token: set JUPYTER_TOKEN, or name its file with -token-file")
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
