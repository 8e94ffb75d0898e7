// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator with many servers, against a real etcd and kube-apiserver and beside a plain client that
// makes the same writes. `make bench` runs it and puts what comes out into docs/performance.md.
//
// The operator is the real program, a child process with a kubeconfig of its own, so memory and processor time are what the kernel
// says about it. There is no node, no garbage collector and no other controller: the driver, which is this program, plays what the
// StatefulSet controller and the kubelet would write where a phase needs running servers.
//
// The plain client repeats what the operator itself wrote for a sample server, request by request with the same bodies, and with
// as many servers at once as the operator works on. It does not watch, render, or ask anything. Events and dry runs are not
// repeated: they are no part of a release. It takes turns with the operator, each turn on a new control plane.
//
// What may live here: the measurement, and its report. Nothing that a test asserts: a time is a number here, never a failure.
package main
