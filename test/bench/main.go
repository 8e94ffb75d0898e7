// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// options are the flags.
type options struct {
	operator     string
	servers      []int
	rounds       []int
	perNamespace int
	oneNamespace bool
	concurrency  int
	benchmarks   bool
	json         string
	markdown     string
}

func main() {
	ctrl.SetLogger(logr.Discard()) // silences envtest
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, parseFlags())
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx)) // the signal
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func parseFlags() options {
	o := options{servers: []int{1000, 5000}, rounds: []int{2, 1}}
	flag.StringVar(&o.operator, "operator", "bin/jupyter-server-operator", "the program to measure")
	flag.Func("servers", "numbers of servers, one case each (default 1000,5000)", numbers(&o.servers))
	flag.Func("rounds", "rounds of operator and plain client per case; the last number applies to the rest (default 2,1)", numbers(&o.rounds))
	flag.IntVar(&o.perNamespace, "per-namespace", 20, "servers per namespace, about a course or a team")
	flag.BoolVar(&o.oneNamespace, "one-namespace", true, "repeat the first case with all servers in one namespace")
	flag.IntVar(&o.concurrency, "concurrency", 8, "concurrency of the operator, the plain client and the driver")
	flag.BoolVar(&o.benchmarks, "benchmarks", true, "also run the Go benchmarks")
	flag.StringVar(&o.json, "json", "", "file to write the measurements to")
	flag.StringVar(&o.markdown, "markdown", "", "file to write the report to, between its markers")
	flag.Parse()
	return o
}

func numbers(into *[]int) func(string) error {
	return func(text string) error {
		*into = nil
		for field := range strings.SplitSeq(text, ",") {
			number, err := strconv.Atoi(field)
			if err != nil || number < 1 || number > 99999 {
				return fmt.Errorf("%q is not a number from 1 to 99999", field)
			}
			*into = append(*into, number)
		}
		return nil
	}
}

// run measures everything before it writes the report, so that a failed run keeps the last report.
func run(ctx context.Context, o options) error {
	out := &result{Concurrency: o.concurrency}
	var err error
	if out.Machine, err = thisMachine(ctx); err != nil {
		return err
	}
	if err := measureServers(ctx, o, out); err != nil {
		return err
	}
	if o.benchmarks {
		progressf("Go benchmarks")
		if out.Benchmarks, err = runBenchmarks(ctx); err != nil {
			return err
		}
	}
	return save(o, out)
}

func save(o options, out *result) error {
	report := markdown(out)
	fmt.Print(report)
	if o.json != "" {
		raw, err := json.MarshalIndent(out, "", " ")
		if err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
		if err := os.WriteFile(o.json, append(raw, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
	}
	if o.markdown == "" {
		return nil
	}
	return replaceSection(o.markdown, report)
}

func measureServers(ctx context.Context, o options, out *result) error {
	b := &bench{program: o.operator, concurrency: o.concurrency, progress: progressf}
	progressf("recording the operator's writes for one server")
	if err := b.record(ctx); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	out.Writes, out.Objects = b.recording.list(), b.recording.objects()
	for i, servers := range o.servers {
		c, err := b.measureCase(ctx, layout{o.perNamespace}, servers, o.rounds[min(i, len(o.rounds)-1)])
		if err != nil {
			return err
		}
		out.Cases = append(out.Cases, c)
	}
	if !o.oneNamespace {
		return nil
	}
	c, err := b.measureCase(ctx, layout{}, o.servers[0], 1)
	out.Cases = append(out.Cases, c)
	return err
}

// measureCase alternates between operator and plain client.
func (b *bench) measureCase(ctx context.Context, l layout, servers, rounds int) (*testCase, error) {
	c := &testCase{Servers: servers, Namespaces: l.namespaces(servers)}
	for round := range rounds {
		progressf("%d servers in %d namespaces, round %d of %d: operator", servers, c.Namespaces, round+1, rounds)
		operator, err := b.operatorTurn(ctx, l, servers)
		if err != nil {
			return nil, fmt.Errorf("%d servers, the operator: %w", servers, err)
		}
		progressf("%d servers in %d namespaces, round %d of %d: plain client", servers, c.Namespaces, round+1, rounds)
		plain, err := b.plainTurn(ctx, l, servers)
		if err != nil {
			return nil, fmt.Errorf("%d servers, the plain client: %w", servers, err)
		}
		c.Operator, c.Plain = append(c.Operator, operator), append(c.Plain, plain)
	}
	return c, nil
}

// progressf prints the current step with the time.
func progressf(format string, args ...any) {
	fmt.Printf(time.Now().Format("15:04:05 ")+format+"\n", args...)
}
