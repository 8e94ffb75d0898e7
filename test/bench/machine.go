// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// thisMachine returns the hardware and versions of this run.
func thisMachine(ctx context.Context) (machine, error) {
	version, err := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kube-apiserver"), "--version").Output()
	if err != nil {
		return machine{}, fmt.Errorf("getting the version of kube-apiserver (KUBEBUILDER_ASSETS is its folder): %w", err)
	}
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return machine{}, err
	}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return machine{}, err
	}
	return machine{
		CPU: cpuModel(string(cpus)), Cores: runtime.NumCPU(), Memory: kibibytes(string(info), "MemTotal:"),
		Go: runtime.Version(), Kubernetes: strings.TrimSpace(strings.TrimPrefix(string(version), "Kubernetes ")),
		Commit: commit(ctx), Date: time.Now().UTC().Format(time.DateOnly),
	}, nil
}

// cpuModel returns the model of the first processor in /proc/cpuinfo. Not all architectures have one.
func cpuModel(cpuinfo string) string {
	_, rest, found := strings.Cut(cpuinfo, "model name")
	if !found {
		return runtime.GOARCH
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t :"))
}

// commit returns the checked-out commit, or "unknown" without a repository.
func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
	if err != nil || len(changes) > 0 {
		return strings.TrimSpace(string(head)) + " with changes"
	}
	return strings.TrimSpace(string(head))
}
