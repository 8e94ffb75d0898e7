// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// The node: the container runtime, the kubelet and the service proxy, and their
// configuration.

package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed config
var configFiles embed.FS

// cniPlugins is the folder of Debian's containernetworking-plugins.
const cniPlugins = "/usr/lib/cni"

// nodeConfig are the fields of the configuration templates.
type nodeConfig struct {
	State, Run, Bin                   string
	Runc                              string
	CNIPlugins, CNINetwork            string
	PauseImage                        string
	NodeIP, NodeName, PodCIDR, DNSIP  string
	CgroupName, RuntimeSocket         string
	KubeletCert, KubeletKey, ClientCA string
	PodLogs, Resolv, CNIConf, CNIIPAM string
	Registry, Kubelet, ContainerdRoot string
}

// startNode starts the node with a running control plane.
func (c *cluster) startNode(ctx context.Context) error {
	if err := c.writeNodeConfig(); err != nil {
		return err
	}
	if err := makeCgroups(); err != nil {
		return err
	}
	ready := func(ctx context.Context) error { return c.ctr(ctx, "version").Run() }
	if err := c.startAndWait(ctx, c.containerdProcess(), 30*time.Second, "answer", ready); err != nil {
		return err
	}
	// Before the kubelet, which needs them.
	for _, image := range preloadedImages {
		if err := c.loadImage(ctx, c.layout.archive(image)); err != nil {
			return err
		}
	}
	if err := c.startAndWait(ctx, c.kubeletProcess(), time.Minute, "answer", healthy("http", 10248)); err != nil {
		return err
	}
	if err := c.startAndWait(ctx, c.proxyProcess(), time.Minute, "answer", healthy("http", 10256)); err != nil {
		return err
	}
	_, err := c.ensureProcess(ctx, c.provisionerProcess())
	return err
}

// waitForNode waits until the kubelet reports the node as ready after this start.
func (c *cluster) waitForNode(ctx context.Context, since time.Time) error {
	return c.waitFor(ctx, "kubelet", 2*time.Minute, "have a ready node", func(ctx context.Context) error {
		return c.nodeIsReady(ctx, since)
	})
}

// nodeIsReady returns why the node is not ready.
func (c *cluster) nodeIsReady(ctx context.Context, since time.Time) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return nodeReady(node, since)
}

// nodeReady returns why a node is not ready. Conditions from before since do not
// count.
func nodeReady(node *corev1.Node, since time.Time) error {
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status != corev1.ConditionTrue {
			return errors.New(condition.Message)
		}
		if condition.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
			return errors.New("not reported since the start")
		}
		return nil
	}
	return errors.New("no condition Ready")
}

func (c *cluster) nodeConfig() (nodeConfig, error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nodeConfig{}, fmt.Errorf("find runc: %w", err)
	}
	return nodeConfig{
		State: c.layout.state, Run: c.layout.run, Bin: c.layout.bin,
		Runc:       runc,
		CNIPlugins: cniPlugins, CNINetwork: cniNetwork,
		PauseImage: pauseImage,
		NodeIP:     nodeIP, NodeName: nodeName, PodCIDR: podCIDR, DNSIP: dnsServiceIP,
		CgroupName: cgroupName, RuntimeSocket: c.layout.containerdSocket(),
		KubeletCert: c.layout.pki("kubelet.crt"), KubeletKey: c.layout.pki("kubelet.key"), ClientCA: c.layout.pki("ca.crt"),
		PodLogs: c.layout.podLogs(), Resolv: c.layout.config("resolv.conf"),
		CNIConf: filepath.Join(c.layout.cni(), "net.d"), CNIIPAM: filepath.Join(c.layout.cni(), "ipam"),
		Registry: c.layout.config("registry"), Kubelet: c.layout.kubelet(), ContainerdRoot: c.layout.containerd(),
	}, nil
}

func (c *cluster) writeNodeConfig() error {
	config, err := c.nodeConfig()
	if err != nil {
		return err
	}
	for name, target := range map[string]string{
		"containerd.toml": c.layout.config("containerd.toml"),
		"hosts.toml":      filepath.Join(config.Registry, "_default", "hosts.toml"),
		"kubelet.yaml":    c.layout.config("kubelet.yaml"),
		"cni.conflist":    filepath.Join(config.CNIConf, "10-"+cniNetwork+".conflist"),
		"resolv.conf":     config.Resolv,
	} {
		content, err := render(configFiles, "config/"+name, config)
		if err != nil {
			return err
		}
		if err := writeFile(target, content, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	for _, folder := range []string{c.layout.kubelet(), c.layout.podLogs(), c.layout.volumes(), c.layout.run} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func render(files embed.FS, name string, data any) ([]byte, error) {
	t, err := template.New(filepath.Base(name)).Option("missingkey=error").ParseFS(files, name)
	if err != nil {
		return nil, fmt.Errorf("read the template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("execute the template %s: %w", name, err)
	}
	return out.Bytes(), nil
}

func (c *cluster) containerdProcess() process {
	config := c.layout.config("containerd.toml")
	return process{
		name:    "containerd",
		path:    c.layout.program("containerd"),
		args:    []string{"--config=" + config},
		configs: []string{config},
	}
}

func (c *cluster) kubeletProcess() process {
	config := c.layout.config("kubelet.yaml")
	return process{
		name: "kubelet",
		path: c.layout.program("kubelet"),
		args: []string{
			"--config=" + config,
			"--kubeconfig=" + c.layout.kubeconfigOf("kubelet"),
			"--root-dir=" + c.layout.kubelet(),
			"--hostname-override=" + nodeName,
			"--node-ip=" + nodeIP,
		},
		configs: []string{config, c.layout.kubeconfigOf("kubelet"), c.layout.pki("kubelet.crt")},
	}
}

func (c *cluster) proxyProcess() process {
	return process{
		name: "kube-proxy",
		path: c.layout.program("kube-proxy"),
		args: []string{
			"--kubeconfig=" + c.layout.kubeconfigOf("kube-proxy"),
			"--hostname-override=" + nodeName,
			"--proxy-mode=nftables",
			"--cluster-cidr=" + podCIDR,
			"--nodeport-addresses=" + nodeIP + "/32",
			"--healthz-bind-address=" + loopback + ":10256",
			"--metrics-bind-address=" + loopback + ":10249",
			// Keep the host's connection tracking settings.
			"--conntrack-max-per-core=0",
			"--conntrack-tcp-timeout-established=0s",
			"--conntrack-tcp-timeout-close-wait=0s",
		},
		configs: []string{c.layout.kubeconfigOf("kube-proxy")},
	}
}

func (c *cluster) provisionerProcess() process {
	return process{
		name: "provisioner",
		path: c.layout.program("localcluster"),
		args: []string{
			"provisioner",
			"--kubeconfig=" + c.layout.kubeconfigOf("provisioner"),
			"--volumes=" + c.layout.volumes(),
		},
		configs: []string{c.layout.kubeconfigOf("provisioner")},
	}
}

// keepOwnProgram copies this program for the provisioner, because `go run` removes
// its own copy. An unchanged program is not written again, so that the provisioner
// is not restarted.
func (c *cluster) keepOwnProgram() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	kept := c.layout.program("localcluster")
	if have, err := os.ReadFile(kept); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := writeFile(kept, content, 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	return nil
}
