// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// clockTicks is the unit of processor time in /proc, a hundredth of a second on all of Linux (proc(5), sysconf(_SC_CLK_TCK)).
const clockTicks = 100

// process is the ID of a process on this machine.
type process int

// cpu returns the processor time of a process so far, in seconds.
func (p process) cpu() (float64, error) {
	fields, err := p.stat()
	if err != nil {
		return 0, err
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of %d: %w", p, err)
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of %d: %w", p, err)
	}
	return (user + system) / clockTicks, nil
}

// stat returns the fields of /proc/PID/stat from the third on. The second is a name that can contain any character.
func (p process) stat() ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return nil, fmt.Errorf("reading a process: %w", err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return nil, fmt.Errorf("parsing the process %d: %q", p, raw)
	}
	return fields, nil
}

// memory returns VmRSS and VmHWM of a process in bytes: its current and its peak memory.
func (p process) memory() (now, peak int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		return 0, 0, fmt.Errorf("reading a process: %w", err)
	}
	return kibibytes(string(raw), "VmRSS:"), kibibytes(string(raw), "VmHWM:"), nil
}

func kibibytes(status, field string) int64 {
	_, rest, _ := strings.Cut(status, field)
	line, _, _ := strings.Cut(rest, "kB")
	value, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return 0
	}
	return value << 10
}

// child finds a child process by the name of its program.
func child(program string) (process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		fields, err := process(pid).stat()
		if err != nil || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		if target, err := os.Readlink(dir + "/exe"); err == nil && filepath.Base(target) == program {
			return process(pid), nil
		}
	}
	return 0, fmt.Errorf("no child process of %s", program)
}
