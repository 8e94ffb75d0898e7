// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package process tests the operator as a process: the real program beside a real etcd and kube-apiserver, killed, stopped, cut off
// from its API server, and one of several. There is no node and no other controller: no pod ever starts, nothing is
// garbage-collected.
//
// The tests look at the state of the world, and at the API server's audit log, which says who wrote what and when: every operator
// process has a user of its own, with the rights that the chart gives it.
//
// What may live here: what only a process of its own can show. What may not: what one turn of the loop does, which the tests of
// operator/internal/controller show faster.
package process
