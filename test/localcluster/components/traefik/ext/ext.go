// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ext stands in for the module that traefik's configuration types name for extensions of their own,
// which is not published. Without extensions the two types are empty.
package ext

// HTTP holds no extension of the HTTP configuration.
type HTTP struct{}

// DeepCopyInto has nothing to copy.
func (in *HTTP) DeepCopyInto(out *HTTP) { *out = *in }

// Router holds no extension of a router.
type Router struct{}

// DeepCopyInto has nothing to copy.
func (in *Router) DeepCopyInto(out *Router) { *out = *in }
