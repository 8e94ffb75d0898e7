// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hostNamespace is the environment variable with the mount namespace of the process that starts a test again.
const hostNamespace = "LOCALCLUSTER_TEST_HOST_NAMESPACE"

// hiddenFolders are those of the host that a test has for itself.
var hiddenFolders = []string{"/run", "/var/lib", "/var/log"}

// withOwnMounts runs a test in a process with a private mount namespace, in which hiddenFolders are empty. The test may
// mount and remove below them what it likes; a cluster that runs on the host is out of reach.
func withOwnMounts(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if why := runsPods(); why != "" {
		t.Skipf("mounting needs root: %s", why)
	}
	namespace, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	host, inside := os.LookupEnv(hostNamespace)
	if inside {
		if namespace == host {
			t.Fatal("the mount namespace is the host's")
		}
		for _, folder := range hiddenFolders {
			mount(t, "tmpfs", folder, "tmpfs", 0)
		}
		test(t)
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	cmd.Env = append(os.Environ(), hostNamespace+"="+namespace)
	// Package syscall makes all mounts private when it unshares them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
}

// addNetworkNamespace does to the file system what `ip netns add` does (iproute2, ip/ipnetns.c).
func addNetworkNamespace(t *testing.T, name string) {
	t.Helper()
	const folder = "/run/netns"
	makeFolder(t, folder)
	if errors.Is(unix.Mount("", folder, "none", unix.MS_SHARED|unix.MS_REC, ""), unix.EINVAL) { // not a mount point yet
		mount(t, folder, folder, "none", unix.MS_BIND|unix.MS_REC)
		mount(t, "", folder, "none", unix.MS_SHARED|unix.MS_REC)
	}
	file := filepath.Join(folder, name)
	makeFile(t, file)
	mount(t, "/proc/self/ns/net", file, "none", unix.MS_BIND)
}

// deleteNetworkNamespace does what `ip netns delete` does: the folder stays a mount point.
func deleteNetworkNamespace(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join("/run/netns", name)
	if err := errors.Join(unix.Unmount(file, unix.MNT_DETACH), os.Remove(file)); err != nil {
		t.Fatal(err)
	}
}

func makeFolder(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func makeFile(t *testing.T, path string) {
	t.Helper()
	makeFolder(t, filepath.Dir(path))
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// restoreEmptyHost runs restoreHost for a host that had none of hostFolders, as far as they are hidden: the others are
// really the host's. Records of earlier versions name /run/netns too.
func restoreEmptyHost(t *testing.T) error {
	t.Helper()
	missing := slices.DeleteFunc(append([]string{"/run/netns"}, hostFolders...), func(folder string) bool {
		return !slices.ContainsFunc(hiddenFolders, func(hidden string) bool { return strings.HasPrefix(folder, hidden+"/") })
	})
	c := &cluster{layout: layout{state: t.TempDir(), run: runtimeFolder}}
	content, err := json.Marshal(hostRecord{Missing: missing})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.layout.hostRecord(), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return c.restoreHost(t.Context())
}

func TestRestoreHost(t *testing.T) {
	for _, test := range []struct {
		reason  string
		prepare func(t *testing.T)
		stay    []string
		gone    []string
	}{
		{
			reason: "what the cluster left is removed",
			prepare: func(t *testing.T) {
				t.Helper()
				makeFile(t, "/run/containerd/s/0123")
				makeFile(t, "/var/lib/cni/results/"+cniNetwork+"-0123-eth0")
				makeFile(t, "/var/lib/kubelet/device-plugins/DEPRECATION")
				makeFolder(t, "/var/log/containers")
			},
			gone: []string{"/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"},
		},
		{
			reason: "a file of another program stays",
			prepare: func(t *testing.T) {
				t.Helper()
				makeFile(t, "/var/lib/cni/results/other-0123-eth0")
				makeFile(t, "/run/containerd/s/0123")
			},
			stay: []string{"/var/lib/cni/results/other-0123-eth0"},
			gone: []string{"/run/containerd"},
		},
		{
			reason: "a network namespace of `ip netns add` stays",
			prepare: func(t *testing.T) {
				t.Helper()
				addNetworkNamespace(t, "other")
				makeFile(t, "/run/containerd/s/0123")
			},
			stay: []string{"/run/netns/other"},
			gone: []string{"/run/containerd"},
		},
		{
			reason: "the mount of `ip netns add` stays when the last namespace is deleted",
			prepare: func(t *testing.T) {
				t.Helper()
				addNetworkNamespace(t, "other")
				deleteNetworkNamespace(t, "other")
				makeFile(t, "/run/containerd/s/0123")
			},
			stay: []string{"/run/netns"},
			gone: []string{"/run/containerd"},
		},
		{
			reason: "an empty folder of a file system that another runtime has mounted stays",
			prepare: func(t *testing.T) {
				t.Helper()
				const rootfs = "/run/containerd/io.containerd.runtime.v2.task/other/0123/rootfs"
				makeFolder(t, rootfs)
				mount(t, "tmpfs", rootfs, "tmpfs", 0)
				makeFolder(t, rootfs+"/tmp")
				makeFile(t, "/run/containerd/s/0123")
			},
			stay: []string{"/run/containerd/io.containerd.runtime.v2.task/other/0123/rootfs/tmp"},
			gone: []string{"/run/containerd/s"},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			withOwnMounts(t, func(t *testing.T) {
				t.Helper()
				test.prepare(t)
				if err := restoreEmptyHost(t); err != nil {
					t.Errorf("restoreHost: %v", err)
				}
				for _, path := range test.stay {
					if _, err := os.Lstat(path); err != nil {
						t.Errorf("not the cluster's, and removed: %v", err)
					}
				}
				for _, path := range test.gone {
					if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s is the cluster's, and is still there: %v", path, err)
					}
				}
			})
		})
	}
}
