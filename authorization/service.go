// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHeaderBytes leaves room for the cookies of a browser and the groups of somebody who is in many.
	maxHeaderBytes = 64 << 10
	// pollEvery is how long a change of the configuration file waits at most.
	pollEvery = time.Second
	// drain is how long requests may take once the service is told to stop.
	drain = 5 * time.Second
	// collectAt makes the garbage collector run twice as often as usual: there is little garbage, and little memory.
	collectAt = 50
)

// service is what `serve` runs.
type service struct {
	rules     *ruleFile
	watch     *watch
	decisions http.Handler
	ops       http.Handler
	logger    *slog.Logger
	pollEvery time.Duration
}

// newService reads the configuration file, which must be right.
func newService(configFile string, logger *slog.Logger) (*service, error) {
	m := newMetrics()
	file, err := openRules(configFile, logger, m)
	if err != nil {
		return nil, err
	}
	signedIn := new(atomic.Bool)
	watch := newWatch(func() provider { return file.current.Load().config.Provider }, signedIn, logger)
	return &service{
		rules: file,
		watch: watch,
		decisions: &handler{
			rules:     file.current.Load,
			decisions: newDecisionLog(logger),
			metrics:   m,
			logger:    logger,
			pages:     newPages(),
			now:       time.Now,
			signedIn:  signedIn,
		},
		ops: &opsHandler{
			ready:   newReadiness(file.current.Load, watch.state, time.Now),
			metrics: m,
		},
		logger:    logger,
		pollEvery: pollEvery,
	}, nil
}

// run serves until the context ends, then lets requests end. It closes the listeners, and leaves nothing running.
func (s *service) run(ctx context.Context, decisions, ops net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx)) // the rules hold until the last request
	ticker := time.NewTicker(s.pollEvery)
	defer ticker.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() { s.rules.run(background, ticker.C) })
	group.Go(func() { s.watch.run(background) })

	servers := []*http.Server{s.newServer(s.decisions), s.newServer(s.ops)}
	ended := make(chan error, len(servers))
	group.Go(func() { ended <- servers[0].Serve(decisions) })
	group.Go(func() { ended <- servers[1].Serve(ops) })
	s.logger.Info("serving", "version", version, "decisions", decisions.Addr().String(), "ops", ops.Addr().String())

	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("stopping")
	case err = <-ended:
	}
	for _, server := range servers {
		err = errors.Join(err, shutdown(ctx, server))
	}
	return err
}

func (s *service) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the proxy's: it must not send into a closing connection
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		// OPTIONS * would be answered with 200.
		DisableGeneralOptionsHandler: true,
	}
}

// shutdown lets requests end, and cuts those that do not.
func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests are cut off: %w", err), server.Close())
	}
	return nil
}

// opsHandler answers the kubelet and the operator.
type opsHandler struct {
	ready   *readiness
	metrics *metrics
}

func (h *opsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz":
		fmt.Fprintln(w, "ok")
	case "/readyz":
		report := h.ready.report(r.Context())
		code := http.StatusOK
		if !report.Ready {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, report)
	case "/metrics":
		w.Header().Set("Content-Type", metricsType)
		h.metrics.write(w, h.ready.provider().Reason)
	default:
		http.NotFound(w, r)
	}
}

// runServe is the command `serve`.
func runServe(ctx context.Context, args []string, stderr io.Writer) int {
	flags, configFile := newFlags("serve", stderr)
	listen := flags.String("listen", "127.0.0.1:3000", "`address` of the decisions: nobody but the proxy may reach it")
	opsListen := flags.String("ops-listen", ":3001", "`address` of /healthz, /readyz and /metrics")
	if code, goOn := parse(flags, args, configFile, stderr); !goOn {
		return code
	}
	debug.SetGCPercent(collectAt)
	if err := serve(ctx, *configFile, *listen, *opsListen, stderr); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitFailed
	}
	return exitOK
}

func serve(ctx context.Context, configFile, listen, opsListen string, stderr io.Writer) error {
	s, err := newService(configFile, slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return err
	}
	decisions, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	ops, err := net.Listen("tcp", opsListen)
	if err != nil {
		return errors.Join(err, decisions.Close())
	}
	return s.run(ctx, decisions, ops)
}
