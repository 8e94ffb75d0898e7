// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator with many servers against a real etcd and kube-apiserver, in comparison to a plain client
// that makes the same writes. `make bench` runs it and updates docs/performance.md.
//
// The operator is the real program, a child process with its own kubeconfig, so that the kernel reports its memory and processor
// time. There is no node, no garbage collector and no other controller: the driver, which is this program, makes the writes of the
// StatefulSet controller and the kubelet where a phase needs running servers.
//
// The plain client repeats the operator's writes for a sample server, request by request with the same bodies and the same
// concurrency. It does not watch, render or evaluate policies. Events and dry runs are not repeated, because they are not part of a
// release. It alternates with the operator, each turn on a new control plane.
//
// What may live here: the measurement and its report. What may not: assertions. A time is a number here, never a failure.
package main
