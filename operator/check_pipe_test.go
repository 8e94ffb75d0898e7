// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCheckReadsNoPipes: reading a named pipe without a writer would block forever.
func TestCheckReadsNoPipes(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe.rego"), filepath.Join(t.TempDir(), "link.rego")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ reason, path, want string }{
		{"a pipe", pipe, "pipe.rego is not a regular file"},
		{"a pipe in a folder", dir, "pipe.rego is not a regular file"},
		{"a link to a pipe", link, "link.rego is not a regular file"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if _, err := execute(t, server, "check", "-f", "-", "--policies", test.path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
