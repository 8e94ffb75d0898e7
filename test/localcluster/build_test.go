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
		refused      bool
	}{
		{reason: "a program is executable", text: "bin/x=/x", source: "bin/x", dest: "/x", mode: 0o755},
		{reason: "a mode is octal", text: "f=/etc/f:0644", source: "f", dest: "/etc/f", mode: 0o644},
		{reason: "a path is cleaned", text: "f=/a//b/../c", source: "f", dest: "/a/c", mode: 0o755},
		{reason: "a relative target leads nowhere", text: "f=x", refused: true},
		{reason: "a folder is no file", text: "f=/x/", refused: true},
		{reason: "a target is needed", text: "f", refused: true},
		{reason: "a source is needed", text: "=/x", refused: true},
		{reason: "a mode in decimal is a mistake", text: "f=/x:999", refused: true},
		{reason: "a file that nobody may read is a mistake", text: "f=/x:0", refused: true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got, err := parseImageFile(test.text)
			if (err != nil) != test.refused {
				t.Fatalf("error %v, refused should be %t", err, test.refused)
			}
			if !test.refused && (got.Source != test.source || got.Dest != test.dest || got.Mode != test.mode) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A pid alone proves nothing: it is given to another process later.
func TestIdentity(t *testing.T) {
	cmd := exec.Command("sleep", "60")
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
		t.Error("our process runs, and counts as gone")
	}
	if other.alive() {
		t.Error("another process with the pid counts as ours")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if ours.alive() {
		t.Error("our process is gone, and counts as running")
	}
}
