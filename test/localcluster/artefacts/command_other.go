// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package artefacts

import "syscall"

// ownGroup starts a command in its own process group.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
