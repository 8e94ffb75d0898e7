// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policies judges a JupyterServer and the objects that it renders to, with rules in Rego. It answers with verdicts for
// the person who wrote the spec: which rule, where, what was found, what is allowed, what to do.
//
// Read admission.rego first: it holds the defaults of all rules and what they share. Each other Rego file holds the rules of
// one concern, and beside it the tests of them. evaluator.go asks them, update.go knows what an update may keep, config.go is
// what the admin decides. testdata has servers for every rule, allowed and denied.
//
// What may live here: rules, and asking them. What may not: a cluster, a clock, rendering.
//
// An answer is complete or an error, and an error is never a pass: whoever asks changes nothing then.
package policies
