// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import "github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"

// Values returns the values that a renderer gives to the chart.
func Values(r *Renderer, server *v1alpha1.JupyterServer, refs References) (map[string]any, error) {
	return values(server, r.config, refs)
}

// Digest returns the digest of a server's values, without rendering.
func Digest(r *Renderer, server *v1alpha1.JupyterServer, refs References) (string, error) {
	vals, err := values(server, r.config, refs)
	if err != nil {
		return "", err
	}
	return r.digest(vals)
}
