// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command authorization decides which users have access to one Jupyter server. It runs in the server's pod, between the plugin
// that signs users in and Jupyter:
//
//	client -> traefik -> (1) authentication -> (2) authorization -> (3) jupyter
//
// The proxy asks it before every request. The plugin supplies the identity in headers; this service allows or denies. It denies
// every request that it does not understand.
//
// Read handler.go first: one request, one decision. identity.go reads the headers, rules.go matches them with the allowed
// identities, cookies.go removes session cookies before Jupyter sees them, page.go renders the page for denied users,
// decisionlog.go logs decisions. config.go is the configuration file, reload.go follows its changes.
//
// service.go runs the decisions, and a second port for the kubelet and the operator with ready.go (does the chain work?),
// watch.go (is the OpenID provider available?) and metrics.go. check.go is the init container, which tests the client at the
// provider once; discovery.go, fault.go and report.go are shared by both.
//
// What may live here: net/http and the standard library. What may not: Kubernetes, Helm, OPA, other packages of this project,
// the choice of users who can sign in (which the plugin and the provider make), and anything that makes a decision depend on
// the network.
package main
