// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package judge evaluates servers against the policies, in the same way for the webhook, the controller and the command line: it
// renders a server, with its patches and without them, and builds the input of the rules.
//
// The package gathers what the rules need to know of a server and of the cluster. The rules themselves are in package policies,
// and the callers act on the verdicts.
package judge
