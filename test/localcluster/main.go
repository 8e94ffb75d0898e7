// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command localcluster runs a real one-node Kubernetes built from source, without a
// container engine and an image registry. This file holds its commands; README.md
// documents them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/jupyterserver/jupyter-server-operator/test/localcluster/artefacts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "localcluster",
		Short:         "A real one-node Kubernetes from source, for development and tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newUpCommand(),
		newDownCommand(),
		newRestartNodeCommand(),
		newStatusCommand(),
		newBuildCommand(),
		newBinCommand(),
		newKubeconfigCommand(),
		newPackImageCommand(),
		newLoadImageCommand(),
		newProvisionerCommand(),
	)
	return root
}

func newUpCommand() *cobra.Command {
	o := upOptions{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Install and build missing components, start the cluster and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newCluster(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return c.up(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.controlPlaneOnly, "control-plane-only", false,
		"start only etcd, the API server, the controllers and the scheduler, on loopback, without a node")
	cmd.Flags().IntVar(&o.ingressPort, "ingress-port", defaultIngressPort, "port of the ingress on 127.0.0.1")
	return cmd
}

func newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster and remove everything that it created, except the build cache",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newCluster(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return c.down(cmd.Context())
		},
	}
}

func newRestartNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restart-node",
		Short: "Simulate a power loss of the node and start it again; volumes and the control plane stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newCluster(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return c.restartNode(cmd.Context())
		},
	}
}

func newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print one line per component; exits with 1 unless the cluster is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newCluster(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return c.status(cmd.Context())
		},
	}
}

func newBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "build [NAME...]",
		Short:     "Build all or the given artefacts without starting anything",
		Long:      "Build all or the given artefacts without starting anything.\n\nNames: " + strings.Join(artefacts.Names(), ", "),
		ValidArgs: artefacts.Names(),
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := newCluster(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return c.build(cmd.Context(), names)
		},
	}
}

func newBinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bin",
		Short: "Print the folder of the built programs (envtest's KUBEBUILDER_ASSETS)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := newLayout()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.bin)
			return nil
		},
	}
}

func newKubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := newLayout()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.kubeconfig())
			return nil
		},
	}
}

func newPackImageCommand() *cobra.Command {
	var (
		spec   artefacts.ImageSpec
		files  []string
		output string
	)
	cmd := &cobra.Command{
		Use:     "pack-image --ref REF --output FILE [--file SRC=DEST[:MODE]]... [flags]",
		Short:   "Create a reproducible image archive FROM scratch from files",
		Example: "  localcluster pack-image --ref localhost/operator:dev --output /tmp/operator.tar \\\n    --file bin/operator=/operator:0755 --entrypoint /operator --user 65532",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range files {
				file, err := parseImageFile(f)
				if err != nil {
					return err
				}
				spec.Files = append(spec.Files, file)
			}
			return artefacts.Pack(spec, output)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&spec.Ref, "ref", "", "name of the image, such as localhost/operator:dev")
	flags.StringVar(&output, "output", "", "archive to write")
	flags.StringArrayVar(&files, "file", nil, "SRC=DEST[:MODE]; MODE is octal (default 0755)")
	flags.StringSliceVar(&spec.Entrypoint, "entrypoint", nil, "entrypoint and its arguments, comma-separated")
	flags.StringVar(&spec.User, "user", "", "user to run as; runAsNonRoot requires a numeric one")
	flags.StringArrayVar(&spec.Env, "env", nil, "environment variable NAME=VALUE")
	for _, name := range []string{"ref", "output"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is not defined above
		}
	}
	return cmd
}

func newLoadImageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load-image ARCHIVE",
		Short: "Import an image archive into the running node",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newCluster(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return c.loadImage(cmd.Context(), args[0])
		},
	}
}

func newProvisionerCommand() *cobra.Command {
	o := provisionerOptions{}
	cmd := &cobra.Command{
		Use:    "provisioner",
		Short:  "Create and delete the volumes of the cluster (started by up)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := runProvisioner(cmd.Context(), o)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the provisioner")
	cmd.Flags().StringVar(&o.volumes, "volumes", "", "folder for volumes")
	return cmd
}
