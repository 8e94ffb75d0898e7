// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart embeds the chart of one Jupyter server.
//
// What may live here: the chart, and the Go variable that embeds it. No code that reads or renders it (see
// operator/internal/render), no imports of this project.
package chart

import "embed"

// Files holds the chart as it stands in this folder, the root of the chart at ".".
//
//go:embed Chart.yaml values.yaml all:templates
var Files embed.FS
