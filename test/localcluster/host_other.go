// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"
	"runtime"
)

var errNoPods = errors.New(runsPods())

// runsPods returns why pods cannot run here.
func runsPods() string {
	return "pods need Linux, and this is " + runtime.GOOS
}

// Without pods there is no node to set up or tear down.

func makeCgroups() error                                { return errNoPods }
func removeCgroups(context.Context) error               { return nil }
func unmountBelow(...string) error                      { return nil }
func makeNetwork(context.Context) error                 { return errNoPods }
func removeRules(context.Context) error                 { return nil }
func removeBridge() error                               { return nil }
func (c *cluster) killContainers(context.Context) error { return nil }
func (c *cluster) containersRun() bool                  { return false }

func mountPoints(func(point, kind string) bool) ([]string, error) { return nil, nil }
