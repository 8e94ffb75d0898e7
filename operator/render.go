// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	chart "github.com/jupyterserver/jupyter-server-operator/chart-jupyter-server"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

func newRenderCommand() *cobra.Command {
	var files []string
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
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "file with JupyterServers; - reads standard input")
	cmd.Flags().StringVar(&configFile, "config", "", "configuration file of the operator (default: built-in settings)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of servers that do not set one")
	_ = cmd.MarkFlagRequired("filename") // fails only for a flag that does not exist
	return cmd
}

// renderFiles prints nothing until everything is rendered: partial output could be mistaken for all of it.
func renderFiles(ctx context.Context, out io.Writer, stdin io.Reader, cfg config.Config, namespace string, files []string) error {
	reader, err := schema.NewReader()
	if err != nil {
		return err
	}
	renderer, err := render.New(chart.Files, cfg)
	if err != nil {
		return err
	}
	var manifests []string
	for _, file := range files {
		more, err := renderFile(ctx, reader, renderer, stdin, namespace, file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		manifests = append(manifests, more...)
	}
	for _, manifest := range manifests {
		if _, err := io.WriteString(out, manifest); err != nil {
			return err
		}
	}
	return nil
}

func renderFile(ctx context.Context, reader *schema.Reader, renderer *render.Renderer, stdin io.Reader, namespace, file string) ([]string, error) {
	servers, err := readFile(ctx, reader, stdin, namespace, file)
	if err != nil {
		return nil, err
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

// readFile returns the JupyterServers of a file. A file without any is an error.
func readFile(ctx context.Context, reader *schema.Reader, stdin io.Reader, namespace, file string) ([]*v1alpha1.JupyterServer, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, errors.Unwrap(err)
		}
		defer f.Close()
		in = f
	}
	servers, err := reader.Read(ctx, in, namespace)
	if err != nil {
		return nil, err
	}
	if len(servers) == 0 {
		return nil, errors.New("contains no JupyterServer")
	}
	return servers, nil
}
