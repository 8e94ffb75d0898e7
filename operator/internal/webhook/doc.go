// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package webhook is the validating admission webhook: the API server calls it before it stores a JupyterServer, and it evaluates
// the policies (operator/internal/judge).
//
// It reads the API server's request, answers it with a message for the user, and manages the certificate of its server. The rules
// are in package policies; operator/internal/judge evaluates servers against them.
package webhook
