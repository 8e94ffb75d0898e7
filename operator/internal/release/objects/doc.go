// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package objects applies the objects of a release and tells whether they still are what was applied. Read diff.go first.
//
// What may live here: ownership, managed fields, server-side apply. What may not: JupyterServers, release records, when an
// object is applied again.
package objects
