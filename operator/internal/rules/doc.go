// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rules loads the admin's own rules from ConfigMaps while the operator runs.
//
// A ConfigMap counts when it is in the operator's own namespace and has the label jupyterserver.dev/policies: "true". ConfigMaps
// of other namespaces never count, for users may write those, and neither do those that belong to a server. Each key is a file:
// NAME.rego a module, NAME_test.rego its tests, NAME.yaml, .yml or .json data. What such files may say is told in package
// policies.
//
// All accepted versions together are the set in force. A change is compiled, tested and tried beside all the others before it
// is put in force, and either the whole new set is, or the one before stays:
//
//   - A ConfigMap that is wrong is refused: an event on it and a metric say so, and its last accepted version stays in force, or
//     nothing of it where there is none. The changes of others are taken.
//   - A ConfigMap without which others do not work any more stays in force though it was deleted, until those are mended.
//   - Which of two ConfigMaps gives way when they do not get along? The one that came later. Where nobody can tell, because both
//     came at once, the one that the compiler names, which depends on their names and not on chance.
//   - After a start there is no set in force yet. If a ConfigMap is wrong then, there is none at all (judge.UseNone): to leave
//     out a rule that the admin wrote would be a hole. Nothing is installed or changed until the ConfigMap is mended, and what
//     runs keeps running.
//
// Every replica loads, for every replica's webhook asks the policies. Only the leader writes events: each replica signs events
// with its own name, so that the API server would keep one of each. A new leader writes again what is refused at the time.
//
// What may live here: reading the ConfigMaps, choosing the versions that are in force, and telling about it. What may not: what
// rules may say and whether they do (package policies), and what follows for servers (operator/internal/controller, operator/internal/webhook).
package rules
