// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e is the end-to-end suite: use cases with kubectl, helm and a Jupyter client, on a real node, with real pods behind a
// real ingress controller. `make test-e2e` runs it.
//
// The suite expects that helm-chart has installed the operator in the namespace jupyter-server-operator (test/run.sh does it), and
// an ingress controller that serves *.localhost on this machine. Its environment:
//
//	KUBECONFIG         the cluster; required
//	LOCALCLUSTER       the folder of the local cluster's command, with which tests kill processes of the node and restart
//	                   it; `none` for another cluster; required
//	E2E_JUPYTER_IMAGE  the image of the servers, present on the node (default localhost/jupyterlab:4.0)
//	E2E_ISSUER         the OpenID provider of test/e2e/provider/serve, at a URL for pods and this machine; `none` for a
//	                   cluster without one; required
//	E2E_CLIENT_SECRET  the secret of its client `jupyter`
//	E2E_ECHO_IMAGE     the image of test/e2e/echo, which returns the requests that reach Jupyter
//	E2E_ARTIFACTS      the folder for screenshots
//
// Read suite_test.go first, then world_test.go for the setup of each test (its own namespace with the restricted Pod Security
// Standard, which is deleted afterwards), then any other file: each covers one behaviour. Tests that need the machine for
// themselves are not parallel, so that they run before the others.
//
// What may live here: behaviour that users see. What may not: the operator's internals.
package e2e
