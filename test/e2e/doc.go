// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e is the end-to-end suite: what people do with kubectl, helm and a Jupyter client, on a real node, with real
// pods behind a real ingress controller. `make test-e2e` runs it.
//
// The suite expects the operator to be installed by helm-chart in the namespace jupyter-server-operator (test/run.sh does
// it), and an ingress controller that serves *.localhost on this machine. Its environment:
//
//	KUBECONFIG         the cluster; required
//	LOCALCLUSTER       the folder of the local cluster's command, if the cluster is that one: the tests then kill processes
//	                   of the node and restart it; `none` for another cluster; required
//	E2E_JUPYTER_IMAGE  the image of the servers, which the node has; localhost/jupyterlab:4.0 if not set
//	E2E_ISSUER         the OpenID provider that pods and this machine reach alike, run by test/e2e/provider/serve, and the
//	E2E_CLIENT_SECRET  secret of its client `jupyter`; `none` for a cluster without one; required
//	E2E_ECHO_IMAGE     the image of test/e2e/echo, which shows what reaches Jupyter
//	E2E_ARTIFACTS      the folder for screenshots
//
// Read suite_test.go for how it starts, world_test.go for what every test has (a namespace of its own, with the restricted
// Pod Security Standard, which is deleted after it), then any other file: each is one behaviour. Tests that need the machine
// for themselves are not parallel, and so run before the others.
//
// What may live here: the world as a user sees it. What may not: the operator's internals.
package e2e
