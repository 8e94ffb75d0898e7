// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Addons: the workloads of a new cluster, in YAML below addons.

package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

//go:embed addons
var addonFiles embed.FS

// deployment names a Deployment among the addons.
type deployment struct{ namespace, name string }

var systemDeployments = []deployment{{"kube-system", "coredns"}, {"ingress", "traefik"}}

// addonConfig are the fields of the addons' templates.
type addonConfig struct {
	ProvisionerName, ProvisionerUser string
	APIServerUser                    string
	CoreDNSImage, CoreDNSArchive     string
	TraefikImage, TraefikArchive     string
	DNSIP, Loopback                  string
	IngressPort, IngressTLSPort      int
}

// applyCluster applies the objects that the cluster needs with or without a node.
func (c *cluster) applyCluster(ctx context.Context) error {
	return c.apply(ctx, "addons/cluster.yaml", addonConfig{
		ProvisionerName: provisionerName,
		ProvisionerUser: "localcluster:provisioner",
		APIServerUser:   apiserverUser,
	})
}

// applyAddons applies the addons that run as pods. They contain the ID of their
// image archive, so that a rebuilt image causes a rollout.
func (c *cluster) applyAddons(ctx context.Context, ingressPort int) error {
	config := addonConfig{
		CoreDNSImage: corednsImage,
		TraefikImage: traefikImage,
		DNSIP:        dnsServiceIP,
		Loopback:     loopback,
		IngressPort:  ingressPort, IngressTLSPort: ingressPort + tlsPortOffset,
	}
	var err error
	if config.CoreDNSArchive, err = archiveID(c.layout.archive("coredns")); err != nil {
		return fmt.Errorf("read the image of coredns: %w", err)
	}
	if config.TraefikArchive, err = archiveID(c.layout.archive("traefik")); err != nil {
		return fmt.Errorf("read the image of traefik: %w", err)
	}
	return errors.Join(
		c.apply(ctx, "addons/coredns.yaml", config),
		c.apply(ctx, "addons/ingress.yaml", config),
	)
}

func (c *cluster) apply(ctx context.Context, name string, config addonConfig) error {
	manifest, err := render(addonFiles, name, config)
	if err != nil {
		return err
	}
	cmd := c.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager=localcluster", "--filename=-")
	cmd.Stdin = bytes.NewReader(manifest)
	if err := runQuietly(cmd); err != nil {
		return fmt.Errorf("apply %s: %w", name, err)
	}
	return nil
}

func (c *cluster) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig=" + c.layout.kubeconfig(), "--request-timeout=30s"}, args...)
	return exec.CommandContext(ctx, c.layout.program("kubectl"), args...)
}

// waitForAddons waits until every addon's pods are ready.
func (c *cluster) waitForAddons(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	for _, d := range systemDeployments {
		var last error
		ok, err := eventually(ctx, 3*time.Minute, func() (bool, error) {
			last = d.ready(ctx, client)
			return last == nil, nil
		})
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s/%s did not become ready: %w%s", d.namespace, d.name, last, c.describePods(ctx, d))
		}
	}
	return nil
}

// ready returns why a Deployment is not ready. Pods whose status predates a
// restart of the node do not count.
func (d deployment) ready(ctx context.Context, client kubernetes.Interface) error {
	have, err := client.AppsV1().Deployments(d.namespace).Get(ctx, d.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if have.Status.ObservedGeneration < have.Generation {
		return errors.New("not observed yet")
	}
	if !rolledOut(have) {
		return fmt.Errorf("%d of %d pods are ready", have.Status.ReadyReplicas, *have.Spec.Replicas)
	}
	return nil
}

func rolledOut(d *appsv1.Deployment) bool {
	wanted := *d.Spec.Replicas
	s := d.Status
	return s.UpdatedReplicas == wanted && s.ReadyReplicas == wanted && s.Replicas == wanted
}

// describePods returns the recent events of a Deployment's pods, if available.
func (c *cluster) describePods(ctx context.Context, d deployment) string {
	client, err := c.client()
	if err != nil {
		return ""
	}
	events, err := client.CoreV1().Events(d.namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil || len(events.Items) == 0 {
		return ""
	}
	var lines strings.Builder
	for _, e := range events.Items {
		fmt.Fprintf(&lines, "%s: %s\n", e.InvolvedObject.Name, e.Message)
	}
	return "\n" + lastLines(lines.String(), 10)
}
