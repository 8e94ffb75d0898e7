// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package credentials keeps the Secret of a server's own: what the operator generates (the token, the key of the cookies) and
// copies of inline secrets. Read plan.go first: it is pure, and Keeper makes the one write that a plan asks for.
//
// What may not live here: Secrets that users create, and whether a spec may have credentials.
package credentials
