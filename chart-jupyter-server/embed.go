// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart embeds the chart of a Jupyter server.
//
// What may live here: the chart and the Go variable that embeds it. What may not: code that reads or renders it (see
// operator/internal/render), and imports of this project.
package chart

import "embed"

// Files is the chart in this folder, with its root at ".".
//
//go:embed Chart.yaml values.yaml all:templates
var Files embed.FS
