// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diagnosis explains why a server does not run. It is one pure function from the observed state of the server's children
// (StatefulSet, pod, claim, their events, a log) to one finding for a notebook user: the root cause, and how to fix it.
//
// Read diagnose.go first: it contains the ordered list of causes, and the first that applies wins. Each other file contains the
// causes of one area: statefulset.go, node.go, scheduling.go, volume.go, image.go, container.go, access.go. events.go selects the
// events that are still current, message.go builds the message and keeps secrets out of it.
//
// The package contains causes and the strings of Kubernetes that identify them, with the file of Kubernetes v1.37.2 in which a
// string is defined. It uses no cluster client and no clock, and changes nothing.
package diagnosis
