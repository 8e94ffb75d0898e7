// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Status: one line per component.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"
)

func (c *cluster) status(ctx context.Context) error {
	m, err := c.readMode()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	healthy := c.printProcesses(w, m)
	healthy = c.printReady(ctx, w, m) && healthy
	if err := w.Flush(); err != nil {
		return err
	}
	if err := c.printAccess(m); err != nil {
		return err
	}
	if !healthy {
		return errors.New("the cluster is not ready: run up to repair it")
	}
	return nil
}

func (c *cluster) printProcesses(w *tabwriter.Writer, m mode) bool {
	names := controlPlaneProcesses
	if m.Node {
		names = append(append([]string(nil), names...), nodeProcesses...)
	}
	healthy := true
	for _, name := range names {
		r, err := c.readRecord(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(w, "%s\tnot started\n", name)
		case err != nil:
			fmt.Fprintf(w, "%s\tunknown: %v\n", name, err)
		case r.alive():
			fmt.Fprintf(w, "%s\trunning\tpid %d\t%s\n", name, r.PID, c.layout.log(name))
			continue
		default:
			fmt.Fprintf(w, "%s\texited\tpid was %d\t%s\n", name, r.PID, c.layout.log(name))
		}
		healthy = false
	}
	return healthy
}

// printReady prints the readiness according to the cluster.
func (c *cluster) printReady(ctx context.Context, w *tabwriter.Writer, m mode) bool {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	checks := []struct {
		name string
		err  error
	}{{"API server", c.apiReady(ctx)}}
	if m.Node {
		client, err := c.client()
		if err != nil {
			fmt.Fprintf(w, "cluster\tunknown: %v\n", err)
			return false
		}
		checks = append(checks, struct {
			name string
			err  error
		}{"node " + nodeName, c.nodeIsReady(ctx, time.Time{})})
		for _, d := range systemDeployments {
			checks = append(checks, struct {
				name string
				err  error
			}{d.namespace + "/" + d.name, d.ready(ctx, client)})
		}
	}
	healthy := true
	for _, check := range checks {
		if check.err != nil {
			fmt.Fprintf(w, "%s\tnot ready: %v\n", check.name, check.err)
			healthy = false
			continue
		}
		fmt.Fprintf(w, "%s\tready\n", check.name)
	}
	return healthy
}
