// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

// newLogger returns a logger in a format, json or text, that drops what is below a level: error, warn, info or debug. What the
// code logs with V(1) to V(4) is debug.
func newLogger(out io.Writer, format, level string) (logr.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level: %q is not a level, use error, warn, info or debug", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "json":
		return logr.FromSlogHandler(slog.NewJSONHandler(out, options)), nil
	case "text":
		return logr.FromSlogHandler(slog.NewTextHandler(out, options)), nil
	}
	return logr.Logger{}, fmt.Errorf("--log-format: %q is not a format, use json or text", format)
}
