// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command serve runs the provider of package provider, for demonstrations and end-to-end tests.
//
//	CLIENT_SECRET=... serve --listen :8080 --issuer http://provider.localhost:8000
//
// It knows a client `jupyter`, which has the secret, and a public one, `jupyter-public`. Both may send people to any server
// of this operator on a host below localhost. With --listen-tls it is a second provider as well, under another issuer.
//
// The secret comes from a file or from the environment, never from the arguments, which everybody can see.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/test/e2e/provider"
)

type flags struct {
	listen, issuer                     string
	listenTLS, issuerTLS, tlsCert, key string
	users, secretFile                  string
	singleSignOn                       bool
}

func main() {
	var f flags
	flag.StringVar(&f.listen, "listen", "", "address to listen on")
	flag.StringVar(&f.issuer, "issuer", "", "URL that people and clients know it by; that of the address if not set")
	flag.StringVar(&f.listenTLS, "listen-tls", "", "address of the provider that speaks TLS")
	flag.StringVar(&f.issuerTLS, "issuer-tls", "", "URL of that one")
	flag.StringVar(&f.tlsCert, "tls-cert", "", "file with its certificate")
	flag.StringVar(&f.key, "tls-key", "", "file with its key")
	flag.StringVar(&f.users, "users", "", "file with users, YAML or JSON; without it alice, bob and carol are there")
	flag.StringVar(&f.secretFile, "client-secret-file", "", "file with the secret of the client; without it that of CLIENT_SECRET")
	flag.BoolVar(&f.singleSignOn, "single-sign-on", false, "remember who has signed in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, f)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// serve runs the providers until the context ends.
func serve(ctx context.Context, f flags) error {
	all, err := f.options()
	if err != nil {
		return err
	}
	for _, options := range all {
		p, err := provider.New(options)
		if err != nil {
			return err
		}
		if err := p.Start(); err != nil {
			return err
		}
		defer p.Close()
		fmt.Printf("%s is served at %s\n", p.Issuer(), options.Listen)
	}
	<-ctx.Done()
	return nil
}

// options are those of each provider that the flags ask for.
func (f flags) options() ([]provider.Options, error) {
	secret, err := f.secret()
	if err != nil {
		return nil, err
	}
	users, err := f.people()
	if err != nil {
		return nil, err
	}
	options := provider.Options{
		Users: users,
		Clients: []provider.Client{
			{ID: "jupyter", Secret: secret, AllowRedirect: ours},
			{ID: "jupyter-public", AllowRedirect: ours},
		},
		SingleSignOn: f.singleSignOn,
	}
	var all []provider.Options
	if f.listen != "" {
		options.Listen, options.Issuer = f.listen, f.issuer
		all = append(all, options)
	}
	if f.listenTLS != "" {
		certificate, err := tls.LoadX509KeyPair(f.tlsCert, f.key)
		if err != nil {
			return nil, fmt.Errorf("the certificate of --listen-tls: %w", err)
		}
		options.Listen, options.Issuer, options.Certificate = f.listenTLS, f.issuerTLS, &certificate
		all = append(all, options)
	}
	if len(all) == 0 {
		return nil, errors.New("nothing to do: set --listen or --listen-tls")
	}
	return all, nil
}

func (f flags) secret() (string, error) {
	secret := os.Getenv("CLIENT_SECRET")
	if f.secretFile != "" {
		raw, err := os.ReadFile(f.secretFile)
		if err != nil {
			return "", fmt.Errorf("read the client's secret: %w", err)
		}
		secret = strings.TrimSpace(string(raw))
	}
	if secret == "" {
		return "", errors.New("there is no client secret: set CLIENT_SECRET, or name its file with --client-secret-file")
	}
	return secret, nil
}

func (f flags) people() ([]provider.User, error) {
	if f.users == "" {
		return provider.DemoUsers(), nil
	}
	raw, err := os.ReadFile(f.users)
	if err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	var users []provider.User
	if err := yaml.UnmarshalStrict(raw, &users); err != nil {
		return nil, fmt.Errorf("read the users in %s: %w", f.users, err)
	}
	return users, nil
}

// ours tells whether people are sent to a server of the operator on this machine, or to its page after the sign-out.
func ours(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && strings.HasSuffix(u.Hostname(), ".localhost") &&
		(strings.HasSuffix(u.Path, "/oauth2/callback") || strings.HasSuffix(u.Path, "/oauth2/signed-out"))
}
