// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// runsPods returns why pods cannot run here, or "" if they can.
func runsPods() string {
	if os.Geteuid() != 0 {
		return "pods can only run as root"
	}
	return ""
}

// cgroupFolders returns the cluster's folder in every mounted hierarchy: one with
// cgroup v2, one per controller with v1.
func cgroupFolders() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(cgroupMount, cgroupName)}, nil
	}
	mounts, err := mountsOfType("cgroup", "cgroup2")
	if err != nil {
		return nil, err
	}
	for i, mount := range mounts {
		mounts[i] = filepath.Join(mount, cgroupName)
	}
	return mounts, nil
}

// makeCgroups creates the parent cgroup of all pods. The kubelet requires that its
// cgroupRoot exists.
func makeCgroups() error {
	folders, err := cgroupFolders()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		if err := delegateControllers(); err != nil {
			return err
		}
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("create the cgroup: %w", err)
		}
		// A cpuset of v1 is initially empty and accepts no process.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inheritCpuset(filepath.Dir(folder), folder, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// kubeletControllers are the controllers that the kubelet requires (pkg/kubelet/cm/cgroup_manager_linux.go).
var kubeletControllers = []string{"cpu", "cpuset", "memory", "pids", "hugetlb"}

func delegateControllers() error {
	have, err := os.ReadFile(filepath.Join(cgroupMount, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the cgroup controllers: %w", err)
	}
	for controller := range strings.FieldsSeq(string(have)) {
		if !slices.Contains(kubeletControllers, controller) {
			continue
		}
		path := filepath.Join(cgroupMount, "cgroup.subtree_control")
		if err := os.WriteFile(path, []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("delegate the cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

func inheritCpuset(parent, folder, name string) error {
	have, err := os.ReadFile(filepath.Join(folder, name))
	if errors.Is(err, fs.ErrNotExist) || len(bytes.TrimSpace(have)) > 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the cgroup: %w", err)
	}
	if _, err := os.Stat(filepath.Join(parent, "cgroup.controllers")); err == nil {
		return nil // v2: an empty value is inherited
	}
	value, err := os.ReadFile(filepath.Join(parent, name))
	if err != nil {
		return fmt.Errorf("read the cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), value, 0o644); err != nil {
		return fmt.Errorf("set the cgroup's %s: %w", name, err)
	}
	return nil
}

// containersRun reports whether any container of the cluster is running. A container outlives a killed shim.
func (c *cluster) containersRun() bool {
	shims, err := c.shims()
	if err == nil && len(shims) > 0 {
		return true
	}
	contained, err := containedProcesses()
	return err == nil && len(contained) > 0
}

// containedProcesses returns the processes in the cluster's cgroups.
func containedProcesses() ([]identity, error) {
	folders, err := cgroupFolders()
	if err != nil {
		return nil, err
	}
	var contained []identity
	for _, folder := range folders {
		in, err := processesBelow(folder)
		if err != nil {
			return nil, err
		}
		contained = append(contained, in...)
	}
	return contained, nil
}

// killContainers kills the shims, so that none restarts or reports a container, and
// then all processes in the cluster's cgroups.
func (c *cluster) killContainers(ctx context.Context) error {
	shims, err := c.shims()
	if err != nil {
		return err
	}
	if err := endIdentities(ctx, shims, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the containers' shims: %w", err)
	}
	contained, err := containedProcesses()
	if err != nil {
		return err
	}
	if err := endIdentities(ctx, contained, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the containers: %w", err)
	}
	return nil
}

// shims returns the processes that run the cluster's shim for its containerd.
func (c *cluster) shims() ([]identity, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []identity
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that exits meanwhile is skipped.
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		args := strings.Split(string(cmdline), "\x00")
		if strings.TrimSuffix(exe, " (deleted)") != c.layout.program("containerd-shim-runc-v2") ||
			!slices.Contains(args, c.layout.containerdSocket()) {
			continue
		}
		if started, err := startTime(pid); err == nil && started != "" {
			found = append(found, identity{PID: pid, Started: started})
		}
	}
	return found, nil
}

func processesBelow(cgroup string) ([]identity, error) {
	var found []identity
	err := filepath.WalkDir(cgroup, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		pids, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile: ENODEV
		}
		for field := range strings.FieldsSeq(string(pids)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid == 0 {
				continue
			}
			if started, err := startTime(pid); err == nil && started != "" {
				found = append(found, identity{PID: pid, Started: started})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find containers in %s: %w", cgroup, err)
	}
	return found, nil
}

// removeCgroups removes the cluster's cgroups, innermost first.
func removeCgroups(ctx context.Context) error {
	folders, err := cgroupFolders()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		var inside []string
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				inside = append(inside, path)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("list the cgroups: %w", err)
		}
		slices.Reverse(inside)
		for _, path := range inside {
			if err := removeCgroup(ctx, path); err != nil {
				return fmt.Errorf("remove the cgroup %s: %w", path, err)
			}
		}
	}
	return nil
}

// removeCgroup waits until killed processes leave the cgroup, which happens when
// their parent reaps them.
func removeCgroup(ctx context.Context, path string) error {
	var last error
	gone, err := eventually(ctx, 5*time.Second, func() (bool, error) {
		last = unix.Rmdir(path)
		if errors.Is(last, unix.EBUSY) {
			return false, nil
		}
		if errors.Is(last, unix.ENOENT) {
			last = nil
		}
		return true, last
	})
	if err == nil && !gone {
		err = last
	}
	return err
}

// unmountBelow unmounts everything below the folders in reverse order of mounting.
func unmountBelow(folders ...string) error {
	mounts, err := mountPoints(func(_, _ string) bool { return true })
	if err != nil {
		return err
	}
	slices.Reverse(mounts)
	for _, mount := range mounts {
		below := slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(mount, f+"/") })
		if !below {
			continue
		}
		if err := unix.Unmount(mount, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", mount, err)
		}
	}
	return nil
}

func mountsOfType(types ...string) ([]string, error) {
	return mountPoints(func(point, kind string) bool {
		return slices.Contains(types, kind) && strings.HasPrefix(point, cgroupMount+"/")
	})
}

// mountPoints lists mounts in the order of mounting (proc(5), mountinfo).
func mountPoints(want func(point, kind string) bool) ([]string, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mounts: %w", err)
	}
	// The kernel escapes these four characters in octal.
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(string(content)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		kind, _, _ := strings.Cut(after, " ")
		if point := unescape.Replace(fields[4]); want(point, kind) {
			points = append(points, point)
		}
	}
	return points, nil
}
