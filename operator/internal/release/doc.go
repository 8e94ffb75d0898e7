// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package release knows how a release is stored and applied, and is the only package that does: Helm's records, the
// objects of a manifest in the API server, who owns them, and whether they are still what was applied.
//
// One way through: Observe compares what is rendered with what the informers saw and names one State; Act does the one
// thing that the state asks for. Neither reads a JupyterServer's spec beyond its storage.retain, nor writes its status.
package release
