package render

import "github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"

// Values are what a renderer gives to the chart.
func Values(r *Renderer, server *v1alpha1.JupyterServer, refs References) (map[string]any, error) {
	return values(server, r.config, refs)
}
