// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package render turns a JupyterServer into the objects that are applied for it. It is one pure function of the server,
// the admin's configuration and the digests of what the spec refers to: no clock, no randomness, no cluster. The
// controller and the commands all call it, so what is inspected is what is applied.
//
// What may live here: values, the chart engine, the post-renderer's call, splitting the manifest, the URL. What may not:
// anything that reads or writes a cluster.
package render
