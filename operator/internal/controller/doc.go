// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller is the loop that makes the cluster follow the JupyterServers: observe, decide, act, report.
//
// What may live here: reading what a spec refers to, the server's own Secret, the watches, the status. What may not: how
// objects are rendered (operator/internal/render), how a release is applied and stored (operator/internal/release), why a pod does not
// run (operator/internal/diagnosis).
package controller
