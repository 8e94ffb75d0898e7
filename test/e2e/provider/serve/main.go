// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command serve runs the OpenID provider of package provider for demonstrations and end-to-end tests.
//
//	CLIENT_SECRET=... serve --listen :8080 --issuer http://provider.localhost:8000
//
// It has a client `jupyter` with the secret and a public client `jupyter-public`. Both may redirect to any server of this operator on
// a host below localhost. With --listen-tls it also runs a second provider with another issuer.
//
// The secret is read from a file or the environment, never from the arguments, which all users can see.
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
	flag.StringVar(&f.issuer, "issuer", "", "issuer URL (default: derived from the address)")
	flag.StringVar(&f.listenTLS, "listen-tls", "", "address of the provider with TLS")
	flag.StringVar(&f.issuerTLS, "issuer-tls", "", "issuer URL of the provider with TLS")
	flag.StringVar(&f.tlsCert, "tls-cert", "", "certificate file of the provider with TLS")
	flag.StringVar(&f.key, "tls-key", "", "key file of the provider with TLS")
	flag.StringVar(&f.users, "users", "", "file with users in YAML or JSON (default: alice, bob and carol)")
	flag.StringVar(&f.secretFile, "client-secret-file", "", "file with the secret of the client (default: $CLIENT_SECRET)")
	flag.BoolVar(&f.singleSignOn, "single-sign-on", false, "remember signed-in users")
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
		if err := p.Start(ctx); err != nil {
			return err
		}
		defer p.Close()
		fmt.Printf("serving %s at %s\n", p.Issuer(), options.Listen)
	}
	<-ctx.Done()
	return nil
}

// options returns the options of the providers according to the flags.
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
			{ID: "jupyter", Secret: secret, AllowRedirect: isOperatorURL},
			{ID: "jupyter-public", AllowRedirect: isOperatorURL},
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
			return nil, fmt.Errorf("loading the certificate of --listen-tls: %w", err)
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
		return "", errors.New("no client secret: set CLIENT_SECRET or --client-secret-file")
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

// isOperatorURL reports whether a URL is the callback or the signed-out page of a server of the operator on this machine.
func isOperatorURL(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && strings.HasSuffix(u.Hostname(), ".localhost") &&
		(strings.HasSuffix(u.Path, "/oauth2/callback") || strings.HasSuffix(u.Path, "/oauth2/signed-out"))
}
