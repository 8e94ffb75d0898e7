// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package process tests the operator as a process: the real program with a real etcd and kube-apiserver, killed, stopped,
// disconnected from its API server, and as one of several replicas. There is no node and no other controller: no pod starts, and
// nothing is garbage-collected.
//
// The tests check the state of the cluster and the API server's audit log: every operator process has its own user, with the
// permissions of the chart.
//
// What may live here: tests that need a separate process. What may not: tests of one reconciliation, which are faster in
// operator/internal/controller.
package process
