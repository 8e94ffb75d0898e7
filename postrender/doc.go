// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package postrender is the step between the chart and the release: manifests in, manifests out. Two objects that the chart
// renders only for this step configure it:
//
//	apiVersion: postrender.jupyterserver.dev/v1alpha1
//	kind: AccessProxy        # the access control of a server with auth.mode oidc
//	kind: Patches            # spec.patches
//	metadata: {name: alice, annotations: {config.kubernetes.io/local-config: "true"}}
//
// No cluster knows these kinds, so a manifest that missed this step cannot be applied. Both objects are removed from the
// stream. Objects that no step changes are passed through byte for byte.
//
// Read run.go first: it lists the steps. access.go holds the first one and the configuration of the access control; inject.go
// adds it to the objects, with templates/; profile.go holds authentication plugins as data, profiles/ the built-in one.
// patches.go holds the second step, patchtypes.go the three formats of a patch. document.go reads and writes the stream.
// cmd/postrender is the command for Helm and for tools that run KRM functions.
//
// What may live here: pure, deterministic functions of manifests. What may not: a cluster, a clock, randomness, policy,
// knowledge of the chart's values, and imports of this project other than operator/api.
package postrender
