// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// The host: the changes that a node makes to it, recorded so that down can restore
// its state.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hostFolders are folders outside the cluster's own that components create at fixed
// paths. The comments name the component.
var hostFolders = []string{
	"/run/containerd",     // shim sockets: pkg/shim/util_unix.go in containerd
	"/var/lib/cni",        // results: libcni.CacheDir
	"/var/lib/kubelet",    // device plugins: pkg/kubelet/cm/devicemanager
	"/var/log/containers", // links to logs: pkg/kubelet/kuberuntime
	"/etc/cni",
	"/opt/cni",
	"/opt/containerd",
}

// hostSettings are kernel parameters that the kubelet (pkg/kubelet/cm), kube-proxy
// (pkg/proxy/nftables) and the network plugins (plugins/pkg/ip) set.
var hostSettings = []string{
	"kernel/keys/root_maxbytes",
	"kernel/keys/root_maxkeys",
	"kernel/panic",
	"kernel/panic_on_oops",
	"net/ipv4/ip_forward",
	"net/ipv4/conf/all/route_localnet",
	"net/ipv4/vs/conntrack",
	"net/netfilter/nf_conntrack_tcp_be_liberal",
	"vm/overcommit_memory",
	"vm/panic_on_oom",
}

// hostRecord is the state of the host before the first start.
type hostRecord struct {
	Missing  []string          `json:"missing"`
	Settings map[string]string `json:"settings"`
}

func settingPath(name string) string { return filepath.Join("/proc/sys", name) }

// rememberHost records the state of the host once.
func (c *cluster) rememberHost() error {
	if _, err := os.Stat(c.layout.hostRecord()); err == nil {
		return nil
	}
	r := hostRecord{Settings: map[string]string{}}
	for _, folder := range hostFolders {
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			r.Missing = append(r.Missing, folder)
		}
	}
	for _, name := range hostSettings {
		value, err := os.ReadFile(settingPath(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the setting %s: %w", name, err)
		}
		r.Settings[name] = strings.TrimSpace(string(value))
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.layout.hostRecord(), content, 0o644)
}

// restoreHost restores the recorded state of the host.
func (c *cluster) restoreHost(ctx context.Context) error {
	content, err := os.ReadFile(c.layout.hostRecord())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var r hostRecord
	if err := json.Unmarshal(content, &r); err != nil {
		return fmt.Errorf("read the recorded state of the host: %w", err)
	}
	var failed []error
	for name, value := range r.Settings {
		now, err := os.ReadFile(settingPath(name))
		if err != nil || strings.TrimSpace(string(now)) == value {
			continue
		}
		if err := os.WriteFile(settingPath(name), []byte(value), 0o644); err != nil {
			failed = append(failed, fmt.Errorf("restore the setting %s: %w", name, err))
		}
	}
	failed = append(failed, c.removeLeftovers(ctx, r.Missing))
	for _, folder := range r.Missing {
		failed = append(failed, removeEmptyFolders(folder))
	}
	return errors.Join(failed...)
}

// removeEmptyFolders removes a folder and its subfolders, except those with files, which another runtime may have
// created since. Mount points stay, with everything below them, because the cluster has none there: `ip netns add`
// mounts /run/netns on itself, and a runtime mounts the root folders of its containers.
func removeEmptyFolders(top string) error {
	mounts, err := mountPoints(func(_, _ string) bool { return true })
	if err != nil {
		return err
	}
	var folders []string
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if slices.Contains(mounts, path) {
			return fs.SkipDir
		}
		folders = append(folders, path)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", top, err)
	}
	for _, folder := range slices.Backward(folders) {
		if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) && !inUse(err) {
			return fmt.Errorf("remove %s: %w", folder, err)
		}
	}
	return nil
}

// inUse reports whether a folder was not removed because it is not empty, or has become a mount point.
func inUse(err error) bool { return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EBUSY) }

// hostFiles are the files that the cluster's components leave in folders of the host, by folder. They are removed if
// the folder did not exist before.
var hostFiles = map[string][]string{
	"/var/lib/kubelet": {"device-plugins/DEPRECATION", "device-plugins/kubelet.sock", "device-plugins/kubelet_internal_checkpoint"},
	"/run/containerd":  {"s/*"},
	"/var/lib/cni":     {"results/cni-loopback-*"},
}

// removeLeftovers removes the cluster's files from folders that other programs may use too.
func (c *cluster) removeLeftovers(ctx context.Context, missing []string) error {
	leftovers, err := filepath.Glob("/var/lib/cni/results/" + cniNetwork + "-*")
	if err != nil {
		return err
	}
	links, err := filepath.Glob("/var/log/containers/*")
	if err != nil {
		return err
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(target, c.layout.podLogs()+"/") {
			leftovers = append(leftovers, link)
		}
	}
	for _, folder := range missing {
		for _, pattern := range hostFiles[folder] {
			files, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil {
				return err
			}
			leftovers = append(leftovers, slices.DeleteFunc(files, func(path string) bool { return answers(ctx, path) })...)
		}
	}
	for _, path := range leftovers {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove leftovers of the node: %w", err)
		}
	}
	return nil
}

// answers reports whether a file is a socket with a listener.
func answers(ctx context.Context, path string) bool {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	_ = connection.Close() // nothing is sent
	return true
}
