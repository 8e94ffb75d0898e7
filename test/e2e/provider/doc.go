// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package provider is an OpenID provider for tests and for trying things out: users with passwords, a login form, and the
// authorization code flow, on the `op` package of github.com/zitadel/oidc.
//
//	p, err := provider.New(provider.Options{Users: provider.DemoUsers(), Clients: []provider.Client{{ID: "jupyter", ...}}})
//	err = p.Start() // p.Issuer() is its URL
//	p.Close()       // nobody answers any more
//	err = p.Start() // the same provider is back: same address, key, clients and sessions
//
// provider.go holds the provider and its HTTP server, login.go the login form, storage.go what it remembers: all in memory.
// Command serve runs it as a pod.
//
// What may live here: what a provider does. What may not: what is expected of whoever signs in there. It holds passwords
// in the clear, and is nothing for real people.
package provider
