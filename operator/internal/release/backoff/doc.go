// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backoff delays repairs of objects that another client keeps changing. Read backoff.go first.
//
// It is pure: the time and what differs in, what to do now and what waits out. What may not live here: requests, clocks.
package backoff
