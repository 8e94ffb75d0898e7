// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// The cluster: the commands up, down and restart-node, step by step.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/test/localcluster/artefacts"
)

// cluster is the one cluster of this user on this machine.
type cluster struct {
	layout   layout
	progress *progress
	out      io.Writer
}

// mode is how a cluster was started, for restart-node and status.
type mode struct {
	Node        bool `json:"node"`
	IngressPort int  `json:"ingressPort"`
}

type upOptions struct {
	controlPlaneOnly bool
	ingressPort      int
}

// Long-lived processes in their start order; they are stopped in reverse.
var (
	controlPlaneProcesses = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	nodeProcesses         = []string{"containerd", "kubelet", "kube-proxy", "provisioner"}
)

func newCluster(out io.Writer) (*cluster, error) {
	l, err := newLayout()
	if err != nil {
		return nil, err
	}
	return &cluster{layout: l, progress: newProgress(out), out: out}, nil
}

func (m mode) apiHost() string {
	if m.Node {
		return nodeIP
	}
	return loopback
}

func (c *cluster) readMode() (mode, error) {
	var m mode
	content, err := os.ReadFile(c.layout.modeRecord())
	if errors.Is(err, fs.ErrNotExist) {
		return m, errors.New("no cluster is running")
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return m, fmt.Errorf("read the mode of the cluster: %w", err)
	}
	return m, nil
}

// chooseMode returns what to start. It is an error if a cluster of another mode
// exists.
func (c *cluster) chooseMode(o upOptions) (mode, error) {
	m := mode{Node: !o.controlPlaneOnly, IngressPort: o.ingressPort}
	if why := runsPods(); m.Node && why != "" {
		c.progress.sayf("%s: starting only the control plane", why)
		m.Node = false
	}
	have, err := c.readMode()
	if err == nil && have.Node != m.Node {
		return mode{}, errors.New("the existing cluster was started with another value of --control-plane-only: run down first")
	}
	return m, nil
}

func (c *cluster) up(ctx context.Context, o upOptions) error {
	unlock, err := lockFile(ctx, c.layout.clusterLock(), c.progress)
	if err != nil {
		return err
	}
	defer unlock()
	m, err := c.chooseMode(o)
	if err != nil {
		return err
	}
	if err := c.checkPorts(ctx, m); err != nil {
		return err
	}
	if err := c.buildFor(ctx, m); err != nil {
		return err
	}
	if err := c.start(ctx, m); err != nil {
		return err
	}
	return c.printAccess(m)
}

func (c *cluster) buildFor(ctx context.Context, m mode) error {
	if !m.Node {
		return c.build(ctx, controlPlaneArtefacts)
	}
	if err := artefacts.InstallPackages(ctx, c.out, nodePackages...); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	return c.build(ctx, nil)
}

func (c *cluster) start(ctx context.Context, m mode) error {
	if err := closeInheritedOnExec(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.layout.state, 0o755); err != nil {
		return err
	}
	if m.Node {
		if err := c.rememberHost(); err != nil {
			return err
		}
		if err := makeNetwork(ctx); err != nil {
			return err
		}
	}
	if err := c.writeMode(m); err != nil {
		return err
	}
	if err := c.makeCertificates(m.apiHost()); err != nil {
		return err
	}
	if err := c.startControlPlane(ctx, m.apiHost(), m.Node); err != nil {
		return err
	}
	if err := c.applyCluster(ctx); err != nil {
		return err
	}
	if !m.Node {
		return nil
	}
	return c.startNodeAndWait(ctx, m)
}

func (c *cluster) startNodeAndWait(ctx context.Context, m mode) error {
	since := time.Now()
	wasRunning := c.processAlive("kubelet")
	if err := c.keepOwnProgram(); err != nil {
		return err
	}
	if err := c.startNode(ctx); err != nil {
		return err
	}
	if wasRunning {
		since = time.Time{}
	}
	if err := c.waitForNode(ctx, since); err != nil {
		return err
	}
	if err := c.applyAddons(ctx, m.IngressPort); err != nil {
		return err
	}
	if err := c.waitForAddons(ctx); err != nil {
		return err
	}
	return c.waitForIngress(ctx, m)
}

// waitForIngress waits until the port accepts connections: right after a restart
// the API still returns the previous status of pods.
func (c *cluster) waitForIngress(ctx context.Context, m mode) error {
	address := hostPort(loopback, m.IngressPort)
	ok, err := eventually(ctx, 2*time.Minute, func() (bool, error) { return listens(ctx, address), nil })
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the ingress does not listen on %s%s", address, c.describePods(ctx, deployment{"ingress", "traefik"}))
	}
	return nil
}

func (c *cluster) writeMode(m mode) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeFile(c.layout.modeRecord(), content, 0o644)
}

// checkPorts fails if another program uses a port that the cluster needs. It only
// checks ports whose component is not running.
func (c *cluster) checkPorts(ctx context.Context, m mode) error {
	type port struct {
		owner, host string
		number      int
	}
	ports := []port{
		{"etcd", loopback, etcdClientPort},
		{"etcd", loopback, etcdPeerPort},
		{"kube-apiserver", m.apiHost(), apiPort},
		{"kube-controller-manager", loopback, 10257},
		{"kube-scheduler", loopback, 10259},
	}
	if m.Node {
		ports = append(ports,
			port{"kubelet", loopback, 10248},
			port{"kube-proxy", loopback, 10249},
			port{"kube-proxy", loopback, 10256},
		)
	}
	for _, p := range ports {
		if address := hostPort(p.host, p.number); !c.processAlive(p.owner) && listens(ctx, address) {
			return fmt.Errorf("port %d is in use: another program listens on %s, which %s needs", p.number, address, p.owner)
		}
	}
	return c.checkIngressPort(ctx, m)
}

// checkIngressPort accepts a port that the cluster's own ingress uses: its
// container outlives the kubelet and containerd.
func (c *cluster) checkIngressPort(ctx context.Context, m mode) error {
	address := hostPort(loopback, m.IngressPort)
	if !m.Node || !listens(ctx, address) {
		return nil
	}
	have, err := c.readMode()
	if err == nil && have.IngressPort == m.IngressPort && c.containersRun() {
		return nil
	}
	return fmt.Errorf("port %d is in use: another program listens on %s, which the ingress needs; stop it or choose another port with --ingress-port", m.IngressPort, address)
}

// listens only connects to addresses of this machine: before the bridge exists, the node's address is routed outside.
func listens(ctx context.Context, address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !isLocal(net.ParseIP(host)) {
		return false
	}
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = connection.Close() // nothing is sent
	return true
}

func isLocal(ip net.IP) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.Equal(ip) {
			return true
		}
	}
	return ip.IsLoopback()
}

func (c *cluster) down(ctx context.Context) error {
	unlock, err := lockFile(ctx, c.layout.clusterLock(), c.progress)
	if err != nil {
		return err
	}
	defer unlock()
	m, err := c.readMode()
	if err != nil && !c.leftovers() {
		c.progress.sayf("no cluster is running")
		return nil
	}
	if runsPods() == "" {
		if err := c.stopNode(ctx); err != nil {
			return err
		}
	} else if m.Node {
		return errors.New("the cluster runs pods: run down as root")
	}
	for _, name := range slices.Backward(controlPlaneProcesses) {
		if err := c.stopProcess(ctx, name); err != nil {
			return err
		}
	}
	if runsPods() == "" {
		if err := errors.Join(removeRules(ctx), removeBridge(), removeCgroups(ctx), c.restoreHost(ctx), os.RemoveAll(c.layout.run)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(c.layout.state); err != nil {
		return fmt.Errorf("remove the state: %w", err)
	}
	c.progress.sayf("the cluster is stopped")
	return nil
}

// leftovers reports whether an earlier run left files or processes.
func (c *cluster) leftovers() bool {
	for _, folder := range []string{c.layout.state, c.layout.run} {
		if _, err := os.Stat(folder); err == nil {
			return true
		}
	}
	return false
}

// stopNode simulates a power loss: it kills all processes of the node and unmounts
// its mounts. It must run before folders are removed, because volumes are mounted
// below them.
func (c *cluster) stopNode(ctx context.Context) error {
	for _, name := range slices.Backward(nodeProcesses) {
		if err := c.killProcess(ctx, name); err != nil {
			return err
		}
	}
	if err := c.killContainers(ctx); err != nil {
		return err
	}
	return unmountBelow(c.layout.state, c.layout.run)
}

func (c *cluster) restartNode(ctx context.Context) error {
	unlock, err := lockFile(ctx, c.layout.clusterLock(), c.progress)
	if err != nil {
		return err
	}
	defer unlock()
	m, err := c.readMode()
	if err != nil {
		return err
	}
	if !m.Node {
		return errors.New("the cluster has no node")
	}
	err = c.progress.step(ctx, "stop the node without shutdown", func(ctx context.Context) error {
		if err := c.stopNode(ctx); err != nil {
			return err
		}
		// State that a machine keeps in memory is lost: sockets, the state of containers,
		// the network and its rules.
		return errors.Join(removeCgroups(ctx), os.RemoveAll(c.layout.run), removeRules(ctx))
	})
	if err != nil {
		return err
	}
	err = c.progress.step(ctx, "start the node again", func(ctx context.Context) error { return c.start(ctx, m) })
	if err != nil {
		return err
	}
	return c.printAccess(m)
}

// printAccess prints how to reach the cluster.
func (c *cluster) printAccess(m mode) error {
	fmt.Fprintf(c.out, "kubeconfig  %s\nprograms    %s\n", c.layout.kubeconfig(), c.layout.bin)
	if m.Node {
		fmt.Fprintf(c.out, "ingress     http://%s:%d (any name ending in .localhost works)\n", loopback, m.IngressPort)
	}
	return nil
}
