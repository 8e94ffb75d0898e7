// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set at build time: -ldflags "-X main.version=...".
var version = "0.1.0-dev"

const usage = `authorization decides which users have access to one Jupyter server.

  authorization serve --config FILE    serve the decisions for the proxy
  authorization check --config FILE    test the client at the OpenID provider once
  authorization version                print the version
`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the program and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch name, rest := args[0], args[1:]; name {
	case "serve":
		return runServe(ctx, rest, stderr)
	case "check":
		return runCheck(ctx, rest, stdout, stderr)
	case "version":
		fmt.Fprintln(stdout, version)
		return exitOK
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	default:
		fmt.Fprintf(stderr, "error: unknown command %q\n\n%s", name, usage)
		return exitUsage
	}
}

// newFlags returns the flags of all commands.
func newFlags(command string, stderr io.Writer) (flags *flag.FlagSet, config *string) {
	flags = flag.NewFlagSet("authorization "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	return flags, flags.String("config", "", "the configuration `file` (required)")
}

// parse returns false and an exit code if the command ends after parsing its flags.
func parse(flags *flag.FlagSet, args []string, config *string, stderr io.Writer) (code int, ok bool) {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, false
	case err != nil: // printed by the flag package
		return exitUsage, false
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "error: unexpected argument %q\n", flags.Arg(0))
		return exitUsage, false
	case *config == "":
		fmt.Fprintln(stderr, "error: --config is required")
		return exitUsage, false
	}
	return exitOK, true
}
