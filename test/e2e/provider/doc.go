// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package provider is an OpenID provider for tests and demonstrations: users with passwords, a login form, and the authorization
// code flow, based on the package `op` of github.com/zitadel/oidc.
//
//	p, err := provider.New(provider.Options{Users: provider.DemoUsers(), Clients: []provider.Client{{ID: "jupyter", ...}}})
//	err = p.Start(ctx) // p.Issuer() is its URL
//	p.Close()       // stops serving
//	err = p.Start(ctx) // serves again with the same address, key, clients and sessions
//
// provider.go holds the provider and its HTTP server, login.go the login form, storage.go its state, all in memory. Command serve
// runs it as a pod.
//
// What may live here: functions of a provider. What may not: expectations of tests. It stores passwords in plain text and is not for
// production.
package provider
