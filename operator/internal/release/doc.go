// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package release has the cluster follow one revision of a server's release, and keeps its history. Read release.go first:
// Diff compares a revision with the cluster, Follow does what the diff asks for.
//
// It knows a server as a Ref. What may not live here: JupyterServers beyond their release status, which revision is followed,
// and why.
package release
