// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"testing"
)

func TestParseImageFile(t *testing.T) {
	tests := []struct {
		reason, text string
		source, dest string
		mode         os.FileMode
		invalid      bool
	}{
		{reason: "a program is executable", text: "bin/x=/x", source: "bin/x", dest: "/x", mode: 0o755},
		{reason: "a mode is octal", text: "f=/etc/f:0644", source: "f", dest: "/etc/f", mode: 0o644},
		{reason: "a path is cleaned", text: "f=/a//b/../c", source: "f", dest: "/a/c", mode: 0o755},
		{reason: "a relative target is invalid", text: "f=x", invalid: true},
		{reason: "a folder is not a file", text: "f=/x/", invalid: true},
		{reason: "a target is required", text: "f", invalid: true},
		{reason: "a source is required", text: "=/x", invalid: true},
		{reason: "a decimal mode is invalid", text: "f=/x:999", invalid: true},
		{reason: "an unreadable file is invalid", text: "f=/x:0", invalid: true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got, err := parseImageFile(test.text)
			if (err != nil) != test.invalid {
				t.Fatalf("got error %v, want error: %t", err, test.invalid)
			}
			if !test.invalid && (got.Source != test.source || got.Dest != test.dest || got.Mode != test.mode) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A PID alone does not identify a process, because it is reused.
func TestIdentity(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started, err := startTime(cmd.Process.Pid)
	if err != nil || started == "" {
		t.Fatalf("start time %q: %v", started, err)
	}
	ours := identity{PID: cmd.Process.Pid, Started: started}
	other := identity{PID: cmd.Process.Pid, Started: started + "1"}
	if !ours.alive() {
		t.Error("the running process is not alive")
	}
	if other.alive() {
		t.Error("another process with the PID is taken for ours")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // returns that it was killed
	if ours.alive() {
		t.Error("the killed process is alive")
	}
}
