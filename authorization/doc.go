// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command authorization decides who may enter one Jupyter server. It runs in the server's pod, between the plugin that
// signs people in and Jupyter:
//
//	client -> traefik -> (1) authentication -> (2) authorization -> (3) jupyter
//
// The proxy asks before every request. The plugin has said who somebody is, in headers; this service says yes or no. It
// says no to everything that it does not understand.
//
// Read handler.go first: one request, one decision. identity.go reads the headers, rules.go compares them with who is
// allowed, cookies.go takes the session's cookies away from Jupyter, page.go is what a refused person sees, decisionlog.go
// what the log says. config.go is the file that holds all of it, reload.go follows its changes.
//
// service.go is what runs: the decisions, and a second port for the kubelet and the operator, with ready.go (does the
// chain work?), watch.go (is the OpenID provider there?) and metrics.go. check.go is the init container, which tries the
// client at the provider once; discovery.go, fault.go and report.go serve both.
//
// What may live here: net/http and the standard library. What may not: Kubernetes, Helm, OPA, other packages of this
// project, who may sign in (that is the plugin's and the provider's), and anything that makes the answer to one request
// depend on the network.
package main
