// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCommandShowsItsEnd(t *testing.T) {
	c := command{name: "sh", arguments: []string{"-c", "seq 100; exit 3"}}
	err := c.run(context.Background())
	if err == nil {
		t.Fatal("a command that fails must be an error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != lastLines+1 || lines[lastLines] != "100" {
		t.Errorf("want the last %d lines of its output, got %d: %v", lastLines, len(lines)-1, err)
	}
}

func TestCommandEndsWithItsChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := command{name: "sh", arguments: []string{"-c", "sleep 60 & wait"}}.run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want the cause of its end, got %v", err)
	}
	if time.Since(start) > 5*time.Second {
		t.Error("a child that keeps the output open must not delay its end")
	}
}
