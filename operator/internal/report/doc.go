// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report writes down what the policies say of servers: as a table for people, as JSON for programs, as SARIF and as
// JUnit for what shows the results of checks beside the code.
//
// What may live here: formats, and finding lines in files. What may not: reading servers, and judging them.
package report
