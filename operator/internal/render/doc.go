// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package render turns a JupyterServer into the objects to apply for it. It is one pure function of the server, the operator's
// configuration and the digests of what the spec refers to, without clock, randomness and cluster. The controller and the commands
// all call it, so that what is inspected is what is applied.
//
// It contains the values, the chart engine, the call of the post-renderer, the splitting of the manifest, and the URL. It neither
// reads nor writes a cluster.
package render
