// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rules loads custom rules from ConfigMaps while the operator runs.
//
// It loads ConfigMaps with the label jupyterserver.dev/policies: "true" in the operator's own namespace. ConfigMaps in other
// namespaces are ignored, because users can write to those, and so are ConfigMaps that belong to a server. Each key is a file:
// NAME.rego is a module, NAME_test.rego its tests, NAME.yaml, .yml or .json data. Package policies documents their contents.
//
// All accepted versions together are the set in force. A change is compiled, tested and tried together with all the others; then
// either the whole new set comes into force or the previous one stays:
//
//   - An invalid ConfigMap is rejected: an event on it and a metric report that. Its last accepted version stays in force, or
//     nothing of it if there is none. Changes of other ConfigMaps are accepted.
//   - A deleted ConfigMap on which others depend stays in force until those are fixed.
//   - If two ConfigMaps conflict, the later one is rejected. If both came at the same time, it is the one that the compiler
//     names, which depends on their names and not on chance.
//   - After a start there is no set in force yet. If a ConfigMap is invalid then, none comes into force (judge.UseNone), because
//     omitting a rule would be a security hole. Nothing is installed or changed until the ConfigMap is fixed; running servers
//     keep running.
//
// Every replica loads the rules, because every replica's webhook evaluates them. Only the leader writes events: each replica signs
// events with its own name, so the API server would keep one from each. A new leader repeats the events of current rejections.
//
// The package reads the ConfigMaps, resolves which versions are in force, and reports on them. Package policies defines and
// evaluates rules; operator/internal/controller and operator/internal/webhook act on the verdicts.
package rules
