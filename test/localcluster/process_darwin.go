// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// closeInheritedOnExec keeps child processes from inheriting files of this program (see process_linux.go).
func closeInheritedOnExec() error {
	for fd := 3; fd < 256; fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}

// startTime returns the start time of a process in microseconds.
func startTime(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", err
	}
	started := info.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", started.Sec, started.Usec), nil
}
