// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Building: the programs and images of the cluster, from package artefacts.

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jupyterserver/jupyter-server-operator/test/localcluster/artefacts"
)

// nodePackages are the Debian packages of programs that the node runs: kube-proxy calls nft, containerd calls runc and
// the network plugins, the kubelet calls mount.
var nodePackages = []string{"runc", "containernetworking-plugins", "nftables", "mount"}

// controlPlaneArtefacts are the artefacts for a machine that cannot run pods.
var controlPlaneArtefacts = []string{"kubernetes", "helm"}

// build builds the named artefacts, or all of them.
func (c *cluster) build(ctx context.Context, names []string) error {
	source, err := findSource()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = artefacts.Names()
	}
	store := artefacts.Store{Dir: c.layout.cache, Source: source, Progress: c.out}
	if err := store.Ensure(ctx, names...); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}

// parseImageFile parses SRC=DEST[:MODE].
func parseImageFile(text string) (artefacts.ImageFile, error) {
	source, rest, ok := strings.Cut(text, "=")
	target, mode, hasMode := strings.Cut(rest, ":")
	if !ok || source == "" || !path.IsAbs(target) || strings.HasSuffix(target, "/") {
		return artefacts.ImageFile{}, fmt.Errorf("--file %q: want SRC=/DEST or SRC=/DEST:MODE", text)
	}
	if !hasMode {
		mode = "0755"
	}
	bits, err := strconv.ParseUint(mode, 8, 12)
	if err != nil || bits == 0 {
		return artefacts.ImageFile{}, fmt.Errorf("--file %q: the mode must be octal, such as 0755", text)
	}
	return artefacts.ImageFile{Source: source, Dest: path.Clean(target), Mode: os.FileMode(bits)}, nil
}

// runQuietly shows the output of a command only if it fails.
func runQuietly(cmd *exec.Cmd) error {
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, lastLines(string(output), 20))
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "    " + strings.Join(lines, "\n    ")
}
