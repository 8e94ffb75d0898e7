// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package faults shows what becomes of servers when things go wrong between the operator and the API server: requests that fail,
// get lost or conflict, an operator that dies between any two writes, watches that lag and break, two operators at once. The
// operators run in this process, against a real etcd and kube-apiserver.
//
// There are tests only. What a real process does under a real signal is in test/process.
package faults
