// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller has the cluster follow JupyterServers: gather, decide, act, report. Read controller.go first.
//
// What may live here: the loop, its watches and what it remembers, acting on a plan. What may not: reading facts (gather),
// decisions and status (reconcile), how a revision is applied and recorded (release), the credentials Secret (credentials).
package controller
