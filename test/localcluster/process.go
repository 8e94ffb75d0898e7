// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Processes: started detached, identified by PID and start time, and stopped only if
// they are provably the started ones.

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one long-lived component.
type process struct {
	name    string
	path    string
	args    []string
	env     []string
	configs []string // files whose change requires a restart
}

// identity identifies a process even after its PID was reused.
type identity struct {
	PID int `json:"pid"`
	// Started is the start of the process according to the system, including the boot.
	Started string `json:"started"`
}

// record is the stored record of a started process.
type record struct {
	identity
	// Spec identifies program, arguments and configuration.
	Spec string `json:"spec"`
}

func (i identity) alive() bool {
	started, err := startTime(i.PID)
	return err == nil && started != "" && started == i.Started
}

// spec changes if the process has to be started differently.
func (p process) spec() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q\n", p.path, p.args, p.env)
	info, err := os.Stat(p.path)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, info.Size(), info.ModTime().UnixNano())
	for _, path := range p.configs {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(content))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (c *cluster) recordFile(name string) string {
	return filepath.Join(c.layout.processRecords(), name+".json")
}

func (c *cluster) readRecord(name string) (record, error) {
	var r record
	content, err := os.ReadFile(c.recordFile(name))
	if err != nil {
		return record{}, err
	}
	// An unreadable record proves nothing, so it is ignored.
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fs.ErrNotExist
	}
	return r, nil
}

func (c *cluster) processAlive(name string) bool {
	r, err := c.readRecord(name)
	return err == nil && r.alive()
}

// ensureProcess keeps a running process, replaces one with another spec, and starts
// a missing one. It reports whether it started one.
func (c *cluster) ensureProcess(ctx context.Context, p process) (bool, error) {
	spec, err := p.spec()
	if err != nil {
		return false, fmt.Errorf("start %s: %w", p.name, err)
	}
	r, err := c.readRecord(p.name)
	switch {
	case err == nil && r.alive() && r.Spec == spec:
		return false, nil
	case err == nil && r.alive():
		c.progress.sayf("restarting %s, which changed", p.name)
		if err := c.stopProcess(ctx, p.name); err != nil {
			return false, err
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("read the record of %s: %w", p.name, err)
	}
	if err := c.startProcess(p, spec); err != nil {
		return false, fmt.Errorf("start %s: %w", p.name, err)
	}
	return true, nil
}

func (c *cluster) startProcess(p process, spec string) error {
	path := c.layout.log(p.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()     // the process has its own descriptor
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // it outlives this program
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Dir = c.layout.state
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	started, err := startTime(cmd.Process.Pid)
	if err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	content, err := json.Marshal(record{identity: identity{PID: cmd.Process.Pid, Started: started}, Spec: spec})
	if err != nil {
		return err
	}
	if err := writeFile(c.recordFile(p.name), content, 0o644); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	return nil
}

// stopProcess sends SIGTERM to a process, and SIGKILL after ten seconds.
func (c *cluster) stopProcess(ctx context.Context, name string) error {
	return c.endProcess(ctx, name, syscall.SIGTERM)
}

// killProcess kills a process, as a power loss would.
func (c *cluster) killProcess(ctx context.Context, name string) error {
	return c.endProcess(ctx, name, syscall.SIGKILL)
}

func (c *cluster) endProcess(ctx context.Context, name string, first syscall.Signal) error {
	r, err := c.readRecord(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the record of %s: %w", name, err)
	}
	if err := endIdentities(ctx, []identity{r.identity}, first); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return os.Remove(c.recordFile(name))
}

// endIdentities signals processes and waits until they have exited.
func endIdentities(ctx context.Context, all []identity, first syscall.Signal) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{first, 10 * time.Second}, {syscall.SIGKILL, 10 * time.Second}} {
		for _, i := range all {
			if !i.alive() {
				continue
			}
			if err := syscall.Kill(i.PID, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("signal process %d: %w", i.PID, err)
			}
		}
		gone, err := eventually(ctx, step.wait, func() (bool, error) { return !anyAlive(all), nil })
		if err != nil || gone {
			return err
		}
	}
	return errors.New("still running after SIGKILL")
}

func anyAlive(all []identity) bool {
	for _, i := range all {
		if i.alive() {
			return true
		}
	}
	return false
}

// eventually polls until the check succeeds, returns an error, or times out.
func eventually(ctx context.Context, limit time.Duration, ask func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(limit)
	for {
		ok, err := ask()
		if ok || err != nil {
			return ok, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// waitFor waits until a check of a process succeeds. It fails on a timeout, or
// immediately if the process exits, with the end of its log.
func (c *cluster) waitFor(ctx context.Context, name string, limit time.Duration, what string, ask func(context.Context) error) error {
	var last error
	ok, err := eventually(ctx, limit, func() (bool, error) {
		if last = ask(ctx); last == nil {
			return true, nil
		}
		if !c.processAlive(name) {
			return false, errors.New("exited during its start")
		}
		return false, nil
	})
	if ok {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = fmt.Errorf("%s: timed out after %.0f s: %w", what, limit.Seconds(), last)
	}
	return fmt.Errorf("%s: %w\nend of %s:\n%s", name, err, c.layout.log(name), c.tailLog(name))
}

func (c *cluster) tailLog(name string) string {
	content, err := os.ReadFile(c.layout.log(name))
	if err != nil {
		return "    " + err.Error()
	}
	return lastLines(strings.ToValidUTF8(string(content), "?"), 15)
}

// lockFile waits until no other command holds the lock.
func lockFile(ctx context.Context, path string, p *progress) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	told := false
	_, err = eventually(ctx, 24*time.Hour, func() (bool, error) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			if !told {
				p.sayf("waiting for another localcluster command to finish")
				told = true
			}
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}
