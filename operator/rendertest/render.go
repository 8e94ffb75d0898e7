// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rendertest renders servers for tests outside of operator/, which cannot import its internal packages.
package rendertest

import (
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// renderer is shared because parsing the chart is slow.
var renderer = sync.OnceValues(func() (*render.Renderer, error) { return render.New(chart.Files, config.Default()) })

// Objects returns the objects of a server's release with its patches applied, rendered with the default configuration.
func Objects(server *v1alpha1.JupyterServer) ([]*unstructured.Unstructured, error) {
	r, err := renderer()
	if err != nil {
		return nil, err
	}
	rendered, err := r.Render(server, render.References{})
	if err != nil {
		return nil, err
	}
	return rendered.Objects, nil
}
