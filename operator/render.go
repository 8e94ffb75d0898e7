// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

func newRenderCommand() *cobra.Command {
	var files sources
	var configFile, namespace string
	cmd := &cobra.Command{
		Use:   "render -f FILE",
		Short: "Print the objects that the operator would apply for a JupyterServer",
		Long: `Print the objects that the operator would apply for the JupyterServers of a file, as YAML. No cluster is needed.

Secrets are shown as references. What only a cluster knows is omitted: the owner references, the annotations in which the
operator keeps its own state, and the checksum of the contents of Secrets.`,
		Example: "  jupyter-server-operator render -f examples/token.yaml\n  cat server.yaml | jupyter-server-operator render -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(configFile)
			if err != nil {
				return err
			}
			return renderFiles(cmd.Context(), cmd.OutOrStdout(), cmd.InOrStdin(), cfg, namespace, files)
		},
	}
	files.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&configFile, "config", "", "configuration file of the operator (default: built-in settings)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of servers that do not set one")
	_ = cmd.MarkFlagRequired("filename") // fails only for a flag that does not exist
	return cmd
}

// renderFiles prints nothing until everything is rendered: partial output could be mistaken for all of it.
func renderFiles(ctx context.Context, out io.Writer, stdin io.Reader, cfg config.Config, namespace string, files sources) error {
	reader, err := schema.NewReader()
	if err != nil {
		return err
	}
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		return err
	}
	var manifests []string
	for _, file := range files.read(ctx, stdin) {
		more, err := renderFile(ctx, reader, renderer, namespace, file)
		if err != nil {
			return fmt.Errorf("%s: %w", cmp.Or(file.name, "-"), err)
		}
		manifests = append(manifests, more...)
	}
	if len(manifests) == 0 { // folders with other objects
		return fmt.Errorf("%s: %w", files.names[0], errNoServer)
	}
	for _, manifest := range manifests {
		if _, err := io.WriteString(out, manifest); err != nil {
			return err
		}
	}
	return nil
}

// renderFile returns the manifests of the servers of a file. A file without any is an error, unless it is in a folder.
func renderFile(ctx context.Context, reader *schema.Reader, renderer *render.Renderer, namespace string, file source) ([]string, error) {
	if file.err != nil {
		return nil, file.err
	}
	servers, err := reader.Read(ctx, bytes.NewReader(file.text), namespace)
	if err != nil {
		return nil, err
	}
	if len(servers) == 0 && !file.inFolder {
		return nil, errNoServer
	}
	var manifests []string
	for _, server := range servers {
		rendered, err := renderer.Render(server, render.References{})
		if err != nil {
			return nil, fmt.Errorf("rendering the JupyterServer %s: %w", server.Name, err)
		}
		manifests = append(manifests, rendered.Manifest)
	}
	return manifests, nil
}
