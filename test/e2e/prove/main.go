// Command prove shows that a Jupyter server works: it starts a kernel over the REST API, computes 6*7 over the websocket
// and expects 42.
//
//	JUPYTER_TOKEN=... prove -url http://jupyter.localhost:8000/alice/
//
// The token comes from the environment or from a file, never from the arguments, which everybody on the machine can see.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
)

const (
	tryEvery = 500 * time.Millisecond
	// firstTry is how long the first URL is tried where there is another one.
	firstTry = 10 * time.Second
)

func main() {
	server := flag.String("url", os.Getenv("JUPYTER_URL"), "URL of the server; without it that of JUPYTER_URL")
	other := flag.String("or", "", "URL to take where the first one does not answer, such as that of a port-forward")
	tokenFile := flag.String("token-file", "", "file that holds the token; without it that of JUPYTER_TOKEN")
	timeout := flag.Duration("timeout", time.Minute, "how long to try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	err := prove(ctx, *server, *other, *tokenFile)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func prove(ctx context.Context, server, other, tokenFile string) error {
	token, err := readToken(tokenFile)
	if err != nil {
		return err
	}
	client, version, err := reach(ctx, server, other, token)
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
