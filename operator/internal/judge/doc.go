// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package judge asks the policies about servers, the same way for the webhook, the controller and the command line: it
// renders a server, with its patches and without them, and gives the rules what they look at.
//
// What may live here: what has to be known of a server and of the cluster before the rules can be asked. What may not: the
// rules themselves (package policies), and what follows from their verdicts.
package judge
