// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// The control plane: etcd, the API server, the controllers and the scheduler.

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// startControlPlane starts missing processes and waits until they are healthy.
func (c *cluster) startControlPlane(ctx context.Context, apiHost string, withNode bool) error {
	if err := os.MkdirAll(c.layout.etcdData(), 0o700); err != nil {
		return fmt.Errorf("create etcd's folder: %w", err)
	}
	if err := c.startAndWait(ctx, c.etcd(), 30*time.Second, "answer", c.etcdReady); err != nil {
		return err
	}
	if err := c.startAndWait(ctx, c.apiserver(apiHost, withNode), 2*time.Minute, "be ready", c.apiReady); err != nil {
		return err
	}
	if err := c.startAndWait(ctx, c.controllerManager(), time.Minute, "answer", healthy("https", 10257)); err != nil {
		return err
	}
	return c.startAndWait(ctx, c.scheduler(), time.Minute, "answer", healthy("https", 10259))
}

// healthy checks a component on loopback, which has a self-signed certificate.
func healthy(scheme string, port int) func(context.Context) error {
	return func(ctx context.Context) error {
		return healthAt(ctx, scheme+"://"+hostPort(loopback, port)+"/healthz", &tls.Config{InsecureSkipVerify: true})
	}
}

// healthAt returns why a health check fails.
func healthAt(ctx context.Context, url string, config *tls.Config) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 2 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // the body is not read
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	return nil
}

func (c *cluster) startAndWait(ctx context.Context, p process, limit time.Duration, what string, ready func(context.Context) error) error {
	started, err := c.ensureProcess(ctx, p)
	if err != nil {
		return err
	}
	if started {
		c.progress.sayf("started %s", p.name)
	}
	return c.waitFor(ctx, p.name, limit, what, ready)
}

func (c *cluster) etcd() process {
	client := "https://" + hostPort(loopback, etcdClientPort)
	peer := "https://" + hostPort(loopback, etcdPeerPort)
	return process{
		name: "etcd",
		path: c.layout.program("etcd"),
		args: []string{
			"--name=" + nodeName,
			"--data-dir=" + c.layout.etcdData(),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=" + nodeName + "=" + peer,
			"--client-cert-auth",
			"--trusted-ca-file=" + c.layout.pki("etcd-ca.crt"),
			"--cert-file=" + c.layout.pki("etcd.crt"),
			"--key-file=" + c.layout.pki("etcd.key"),
			"--peer-client-cert-auth",
			"--peer-trusted-ca-file=" + c.layout.pki("etcd-ca.crt"),
			"--peer-cert-file=" + c.layout.pki("etcd.crt"),
			"--peer-key-file=" + c.layout.pki("etcd.key"),
			// Data is lost only if the machine crashes, not if the process is killed.
			"--unsafe-no-fsync",
			"--log-level=warn",
		},
		configs: []string{c.layout.pki("etcd.crt")},
	}
}

func (c *cluster) etcdReady(ctx context.Context) error {
	pair, err := tls.LoadX509KeyPair(c.layout.pki("etcd-client.crt"), c.layout.pki("etcd-client.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(c.layout.pki("etcd-ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return healthAt(ctx, "https://"+hostPort(loopback, etcdClientPort)+"/health",
		&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots})
}

func (c *cluster) apiserver(apiHost string, withNode bool) process {
	args := []string{
		"--bind-address=" + apiHost,
		"--advertise-address=" + apiHost,
		fmt.Sprintf("--secure-port=%d", apiPort),
		fmt.Sprintf("--etcd-servers=https://%s:%d", loopback, etcdClientPort),
		"--etcd-cafile=" + c.layout.pki("etcd-ca.crt"),
		"--etcd-certfile=" + c.layout.pki("etcd-client.crt"),
		"--etcd-keyfile=" + c.layout.pki("etcd-client.key"),
		"--tls-cert-file=" + c.layout.pki("apiserver.crt"),
		"--tls-private-key-file=" + c.layout.pki("apiserver.key"),
		"--client-ca-file=" + c.layout.pki("ca.crt"),
		"--kubelet-certificate-authority=" + c.layout.pki("ca.crt"),
		"--kubelet-client-certificate=" + c.layout.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + c.layout.pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.layout.pki("service-account.pub"),
		"--service-account-signing-key-file=" + c.layout.pki("service-account.key"),
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", // PodSecurity decides per namespace
		"--profiling=false",
	}
	if !withNode {
		// An endpoint on loopback is invalid, and no pod could use it.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	return process{
		name:    "kube-apiserver",
		path:    c.layout.program("kube-apiserver"),
		args:    args,
		configs: []string{c.layout.pki("apiserver.crt"), c.layout.pki("service-account.pub")},
	}
}

func (c *cluster) controllerManager() process {
	kubeconfig := c.layout.kubeconfigOf("kube-controller-manager")
	return process{
		name: "kube-controller-manager",
		path: c.layout.program("kube-controller-manager"),
		args: []string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=" + loopback,
			"--leader-elect=false",
			"--use-service-account-credentials",
			"--service-account-private-key-file=" + c.layout.pki("service-account.key"),
			"--root-ca-file=" + c.layout.pki("ca.crt"),
			"--cluster-signing-cert-file=" + c.layout.pki("ca.crt"),
			"--cluster-signing-key-file=" + c.layout.pki("ca.key"),
		},
		configs: []string{kubeconfig},
	}
}

func (c *cluster) scheduler() process {
	kubeconfig := c.layout.kubeconfigOf("kube-scheduler")
	return process{
		name: "kube-scheduler",
		path: c.layout.program("kube-scheduler"),
		args: []string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=" + loopback,
			"--leader-elect=false",
		},
		configs: []string{kubeconfig},
	}
}

// client returns a client of the API server as the administrator.
func (c *cluster) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.layout.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	return client, nil
}

func (c *cluster) apiReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return err
	}
	// The addons use this namespace, which the API server creates shortly after it is ready.
	_, err = client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	return err
}
