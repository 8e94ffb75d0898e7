// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package webhook is the validating admission webhook: the API server asks it before it stores a JupyterServer, and it asks
// the policies (operator/internal/judge).
//
// What may live here: reading the API server's question, answering it in words for the person at the keyboard, and the
// certificate of the server that answers. What may not: the rules (policies), and how a server is put to them
// (operator/internal/judge).
package webhook
