// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package postrender is the step between the chart and the release: manifests in, manifests out. It does what two objects of the
// chart say, which are for this step alone:
//
//	apiVersion: postrender.jupyterserver.dev/v1alpha1
//	kind: AccessProxy        # the access control of a server with auth.mode oidc
//	kind: Patches            # spec.patches
//	metadata: {name: alice, annotations: {config.kubernetes.io/local-config: "true"}}
//
// No cluster knows these kinds, so a manifest which missed this step cannot be applied. The objects are taken out of the stream;
// what nothing touches is written as it came, byte for byte.
//
// Read run.go first: it has the steps. access.go holds the first one, and what the access control is told; inject.go puts it
// into the objects, with the texts of templates/; profile.go holds authentication plugins as data, profiles/ the built-in one.
// patches.go holds the second step, patchtypes.go the three formats of a patch.
// document.go reads and writes the stream. cmd/postrender is the command for Helm and for tools that run KRM functions.
//
// What may live here: pure, deterministic functions of manifests. What may not: a cluster, a clock, randomness, policy,
// knowledge of the chart's values, and imports of this project other than operator/api.
package postrender
