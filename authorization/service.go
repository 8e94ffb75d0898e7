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
	// maxHeaderBytes has room for the cookies of a browser and the groups of a user with many groups.
	maxHeaderBytes = 64 << 10
	// pollInterval is the longest delay until a change of the configuration file takes effect.
	pollInterval = time.Second
	// shutdownTimeout is how long requests may take when the service stops.
	shutdownTimeout = 5 * time.Second
	// gcPercent makes the garbage collector run twice as often as by default: there is little garbage and little memory.
	gcPercent = 50
)

// service is the command `serve`.
type service struct {
	rules        *ruleFile
	watch        *watch
	decisions    http.Handler
	ops          http.Handler
	logger       *slog.Logger
	pollInterval time.Duration
}

// newService reads the configuration file, which must be valid.
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
		logger:       logger,
		pollInterval: pollInterval,
	}, nil
}

// run serves until the context ends and then drains requests. It closes the listeners and leaves no goroutine running.
func (s *service) run(ctx context.Context, decisions, ops net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx)) // rules are reloaded until the last request
	ticker := time.NewTicker(s.pollInterval)
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
		IdleTimeout:       2 * time.Minute, // longer than the proxy's, which must not send into a closing connection
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		// Otherwise OPTIONS * returns 200.
		DisableGeneralOptionsHandler: true,
	}
}

// shutdown drains requests and closes the connections of those that take too long.
func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("aborting requests: %w", err), server.Close())
	}
	return nil
}

// opsHandler serves the kubelet and the operator.
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
	listen := flags.String("listen", "127.0.0.1:3000", "`address` of the decisions, which only the proxy may reach")
	opsListen := flags.String("ops-listen", ":3001", "`address` of /healthz, /readyz and /metrics")
	if code, ok := parse(flags, args, configFile, stderr); !ok {
		return code
	}
	debug.SetGCPercent(gcPercent)
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
	var network net.ListenConfig
	decisions, err := network.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	ops, err := network.Listen(ctx, "tcp", opsListen)
	if err != nil {
		return errors.Join(err, decisions.Close())
	}
	return s.run(ctx, decisions, ops)
}
