// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report writes the results of evaluating servers: as a table for people, as JSON for programs, and as SARIF and JUnit for
// tools that show results of checks next to the code.
//
// It contains output formats, and finds lines in files. It neither reads nor evaluates servers.
package report
