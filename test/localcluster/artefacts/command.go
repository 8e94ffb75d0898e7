// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// lastLines is the number of lines of a failed command's output that are shown.
const lastLines = 30

// command is an invocation of a program of the machine.
type command struct {
	folder      string
	environment []string
	name        string
	arguments   []string
}

// run runs the command. Its error contains the end of the output.
func (c command) run(ctx context.Context) error {
	output, err := c.start(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	said := tail(output, lastLines)
	if said == "" {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return fmt.Errorf("%s: %w, end of its output:\n%s", c.name, err, said)
}

func (c command) start(ctx context.Context) (string, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, c.name, c.arguments...)
	cmd.Dir = c.folder
	cmd.Env = append(os.Environ(), c.environment...)
	cmd.Stdout, cmd.Stderr = &output, &output
	// The command and its children are one process group, which is killed as a whole. The kernel kills the command
	// when the thread that started it exits, so this goroutine stays on its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	return output.String(), err
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
