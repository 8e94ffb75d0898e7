// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gather finds the facts that package reconcile decides on: what a spec refers to, what it renders to, what the policies
// say, how the pod is. Read gather.go first.
//
// It only reads: from the informers, and from the API server and the pod where the informers cannot tell. What may not live
// here: writes, and what follows from the facts.
package gather
