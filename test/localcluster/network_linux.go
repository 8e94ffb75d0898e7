// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
)

// makeNetwork creates the node's address and the rules that confine its traffic.
//
// The bridge only carries the address. Pods have point-to-point links, so that all
// of their traffic passes the host's routing, where kube-proxy works, whether or
// not the host passes bridged traffic to nftables.
func makeNetwork(ctx context.Context) error {
	if err := makeBridge(); err != nil {
		return err
	}
	if err := os.WriteFile(settingPath("net/ipv4/ip_forward"), []byte("1"), 0o644); err != nil {
		return fmt.Errorf("enable forwarding: %w", err)
	}
	return fenceIn(ctx)
}

func makeBridge() error {
	link, err := netlink.LinkByName(bridgeName)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		if err := refuseOverlap(); err != nil {
			return err
		}
		attributes := netlink.NewLinkAttrs()
		attributes.Name = bridgeName
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
			return fmt.Errorf("create the bridge %s: %w", bridgeName, err)
		}
		link, err = netlink.LinkByName(bridgeName)
	}
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", bridgeName, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(nodeIP), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrReplace(link, address); err != nil {
		return fmt.Errorf("add the address of the bridge %s: %w", bridgeName, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up the bridge %s: %w", bridgeName, err)
	}
	return nil
}

// refuseOverlap fails if a route of the host overlaps the cluster's range. It ignores links of pods of an earlier run,
// which briefly outlive its bridge: their routes are to one address of the pods' range, over a link of the ptp plugin.
func refuseOverlap() error {
	_, ours, err := net.ParseCIDR(clusterCIDR)
	if err != nil {
		return err
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			continue
		}
		if isPodRoute(r) {
			continue
		}
		if ours.Contains(r.Dst.IP) || r.Dst.Contains(ours.IP) {
			return fmt.Errorf("the cluster's range %s overlaps the host's route to %s: remove that route first", clusterCIDR, r.Dst)
		}
	}
	return nil
}

func isPodRoute(r netlink.Route) bool {
	_, pods, err := net.ParseCIDR(podCIDR)
	if err != nil || !pods.Contains(r.Dst.IP) {
		return false
	}
	if ones, bits := r.Dst.Mask.Size(); ones != bits {
		return false
	}
	link, err := netlink.LinkByIndex(r.LinkIndex)
	return err == nil && link.Type() == "veth"
}

// fenceIn blocks traffic between pods and addresses beyond the host.
func fenceIn(ctx context.Context) error {
	rules := fmt.Sprintf(`
table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain forward {
		type filter hook forward priority filter + 10; policy accept;
		ip saddr %[2]s ip daddr != %[2]s reject with icmp type admin-prohibited
		ip daddr %[2]s ip saddr != %[2]s reject with icmp type admin-prohibited
	}
}
`, nftTable, clusterCIDR)
	return nft(ctx, rules)
}

// removeRules removes the nftables tables of the cluster and of kube-proxy.
func removeRules(ctx context.Context) error {
	for _, table := range []string{"ip " + nftTable, "ip kube-proxy", "ip6 kube-proxy"} {
		// Adding the table first makes deleting it succeed if it does not exist.
		if err := nft(ctx, fmt.Sprintf("table %[1]s\ndelete table %[1]s\n", table)); err != nil {
			return err
		}
	}
	return nil
}

func removeBridge() error {
	link, err := netlink.LinkByName(bridgeName)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", bridgeName, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove the bridge %s: %w", bridgeName, err)
	}
	return nil
}

// nft applies rules atomically.
func nft(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if err := runQuietly(cmd); err != nil {
		return fmt.Errorf("set nftables rules: %w", err)
	}
	return nil
}
