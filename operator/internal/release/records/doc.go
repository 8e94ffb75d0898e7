// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package records keeps the revisions of a release as Helm does, so that `helm list`, `history` and `get` show them. Read
// history.go first.
//
// What may live here: Helm's release records, which are Secrets (helm.sh/helm/v3/pkg/storage/driver/secrets.go). What may not:
// the objects of a release, JupyterServers.
package records
