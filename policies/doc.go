// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policies evaluates a JupyterServer and the objects that it renders to with rules in Rego. It returns verdicts for the
// author of the spec: the rule, the field, the value found, the allowed values and the remediation.
//
// Read admission.rego first: it holds the defaults of all rules and their shared helpers. Each other Rego file holds the rules of
// one concern, with their tests next to it. evaluator.go evaluates them, update.go downgrades existing violations of an update,
// config.go is the administrator's configuration. testdata has allowed and denied servers for every rule.
//
// What may live here: rules and their evaluation. What may not: a cluster, a clock, rendering.
//
// A result is complete or an error, and an error never allows a server: the caller must not change anything then.
package policies
