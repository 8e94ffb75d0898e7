// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Paths and addresses of the cluster.

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Addresses. The two ranges are rarely used otherwise; up fails if a route of the
// host overlaps them.
const (
	clusterCIDR  = "10.213.0.0/19"
	podCIDR      = "10.213.0.0/20"
	serviceCIDR  = "10.213.16.0/20"
	nodeIP       = "10.213.0.1"
	apiServiceIP = "10.213.16.1"
	dnsServiceIP = "10.213.16.10"

	loopback           = "127.0.0.1"
	apiPort            = 6443
	etcdClientPort     = 12379
	etcdPeerPort       = 12380
	defaultIngressPort = 8000
	tlsPortOffset      = 443 // between the ingress's ports without and with TLS: 8443
)

// hostPort returns the address of a port.
func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// Names on the host and in the cluster.
const (
	nodeName   = "localcluster"
	bridgeName = "jslocal0"
	nftTable   = "jupyter_localcluster"
	cgroupName = "jupyter-localcluster"
	cniNetwork = "jupyter-localcluster"
)

// runtimeFolder is short because it contains containerd's sockets, and the path of
// a Unix socket has at most 107 bytes (unix(7)).
const runtimeFolder = "/run/jupyter-localcluster"

// layout holds the paths of the cluster.
type layout struct {
	cache  string // parent of all others; kept by down
	bin    string // built programs
	images string // image archives
	state  string // of the cluster; removed by down
	run    string // sockets and state of the container runtime; lost when the node stops
}

func newLayout() (layout, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return layout{}, fmt.Errorf("find the cache folder: %w", err)
	}
	cache := filepath.Join(base, "jupyter-server-operator")
	return layout{
		cache:  cache,
		bin:    filepath.Join(cache, "bin"),
		images: filepath.Join(cache, "images"),
		state:  filepath.Join(cache, "cluster"),
		run:    runtimeFolder,
	}, nil
}

func (l layout) program(name string) string   { return filepath.Join(l.bin, name) }
func (l layout) archive(name string) string   { return filepath.Join(l.images, name+".tar") }
func (l layout) pki(name string) string       { return filepath.Join(l.state, "pki", name) }
func (l layout) config(name string) string    { return filepath.Join(l.state, "config", name) }
func (l layout) log(name string) string       { return filepath.Join(l.state, "logs", name+".log") }
func (l layout) etcdData() string             { return filepath.Join(l.state, "etcd") }
func (l layout) kubelet() string              { return filepath.Join(l.state, "kubelet") }
func (l layout) podLogs() string              { return filepath.Join(l.state, "pod-logs") }
func (l layout) containerd() string           { return filepath.Join(l.state, "containerd") }
func (l layout) volumes() string              { return filepath.Join(l.state, "volumes") }
func (l layout) cni() string                  { return filepath.Join(l.state, "cni") }
func (l layout) containerdSocket() string     { return filepath.Join(l.run, "containerd.sock") }
func (l layout) kubeconfig() string           { return filepath.Join(l.state, "kubeconfig") }
func (l layout) processRecords() string       { return filepath.Join(l.state, "processes") }
func (l layout) loadedImages() string         { return filepath.Join(l.state, "images") }
func (l layout) hostRecord() string           { return filepath.Join(l.state, "host.json") }
func (l layout) modeRecord() string           { return filepath.Join(l.state, "mode.json") }
func (l layout) clusterLock() string          { return filepath.Join(l.cache, "cluster.lock") }
func (l layout) kubeconfigOf(u string) string { return l.config(u + ".kubeconfig") }

// findSource returns this command's source folder with the sources of the
// components. They are separate Go modules, which an embed pattern cannot include.
func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working folder: %w", err)
	}
	for {
		for _, candidate := range []string{dir, filepath.Join(dir, "test", "localcluster")} {
			_, err := os.Stat(filepath.Join(candidate, "components", "kubernetes", "go.mod"))
			if err == nil {
				return candidate, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("find the components: %w", err)
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("folder components/kubernetes not found: run this in test/localcluster of a checkout")
		}
		dir = parent
	}
}

// writeFile replaces a file atomically, so that a killed run leaves the old or the
// new content.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // fails after the rename
	_, writeErr := tmp.Write(content)
	if err := errors.Join(writeErr, tmp.Chmod(mode), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
