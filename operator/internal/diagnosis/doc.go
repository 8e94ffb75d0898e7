// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diagnosis says why a server does not run. It is one pure function from what was seen of the server's children
// (StatefulSet, pod, claim, their events, a log) to one finding for a notebook user: the root cause, and what to do.
//
// Read diagnose.go first: it holds the ordered list of causes, and the first that applies wins. Each other file holds the
// causes of one place: statefulset.go, node.go, scheduling.go, volume.go, image.go, container.go. events.go picks the
// events that still count, message.go makes the one sentence and keeps secrets out of it.
//
// What may live here: causes, and the strings of Kubernetes that they are known by, with the file of Kubernetes v1.37.2
// that a string comes from. What may not: a cluster client, a clock, and anything that changes something.
package diagnosis
