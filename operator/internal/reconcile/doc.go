// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reconcile decides what a turn of the controller does with one server, and what its status says. Read decide.go
// first.
//
// It is pure: facts in, a plan, a status and events out. What may not live here: a client, a clock, a context, or any other
// package that reads or writes the cluster.
package reconcile
