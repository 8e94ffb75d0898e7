// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// operator is the real program as a child process.
type operator struct {
	process
	command *exec.Cmd
	log     *bytes.Buffer
	dir     string
	metrics string
	health  string
	exited  chan struct{}
}

// startOperator starts the program against an API server, without rate limits, and waits until it is ready.
func startOperator(ctx context.Context, program string, config *rest.Config, concurrency int) (*operator, error) {
	dir, err := os.MkdirTemp("", "bench-operator")
	if err != nil {
		return nil, err
	}
	o := &operator{dir: dir, log: &bytes.Buffer{}, exited: make(chan struct{})}
	if err := o.start(ctx, program, config, concurrency); err != nil {
		o.stop()
		return nil, err
	}
	if err := o.ready(ctx); err != nil {
		err = o.withLog(err)
		o.stop()
		return nil, err
	}
	return o, nil
}

func (o *operator) start(ctx context.Context, program string, config *rest.Config, concurrency int) error {
	kubeconfig := filepath.Join(o.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(kubeconfigOf(config), kubeconfig); err != nil {
		return fmt.Errorf("writing the operator's kubeconfig: %w", err)
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	health, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	o.metrics, o.health = "http://"+metrics+"/metrics", "http://"+health+"/readyz"
	o.command = exec.Command(program, "run", "--metrics-bind-address="+metrics, //nolint:noctx // stop ends it
		"--health-probe-bind-address="+health, "--kube-api-qps=-1", "--concurrency="+strconv.Itoa(concurrency))
	o.command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	o.command.Stdout, o.command.Stderr = o.log, o.log
	o.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // this process handles Ctrl-C
	if err := o.command.Start(); err != nil {
		return fmt.Errorf("starting the operator: %w", err)
	}
	o.process = process(o.command.Process.Pid)
	go func() {
		_ = o.command.Wait() // the log has the reason
		close(o.exited)
	}()
	return nil
}

func kubeconfigOf(config *rest.Config) api.Config {
	out := api.NewConfig()
	out.Clusters["bench"] = &api.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	out.AuthInfos["bench"] = &api.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	out.Contexts["bench"] = &api.Context{Cluster: "bench", AuthInfo: "bench"}
	out.CurrentContext = "bench"
	return *out
}

// freeAddress returns an address without a listener.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func (o *operator) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		if answers(ctx, o.health) {
			return nil
		}
		select {
		case <-o.exited:
			return errors.New("the operator exited")
		case <-ctx.Done():
			return fmt.Errorf("waiting for the operator to be ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (o *operator) scrape(ctx context.Context) (scrape, error) {
	return scrapeFrom(ctx, http.DefaultClient, o.metrics)
}

// reconciles returns the number of reconciliations.
func (s scrape) reconciles() float64 {
	return s.sum("controller_runtime_reconcile_total", map[string]string{"controller": "jupyterserver"})
}

// waitIdle waits until the operator has made as many reconciliations and no more for a while. It returns the observed time of the
// last one.
func (o *operator) waitIdle(ctx context.Context, reconciles float64) (time.Time, error) {
	const look, quiet = 250 * time.Millisecond, 4 * time.Second
	last, changed := -1.0, time.Now()
	for {
		s, err := o.scrape(ctx)
		if err != nil {
			return changed, err
		}
		busy := s.sum("workqueue_depth", map[string]string{"name": "jupyterserver"}) + s.sum("controller_runtime_active_workers", nil)
		if now := s.reconciles(); now != last || busy > 0 {
			last, changed = now, time.Now()
		}
		if last >= reconciles && time.Since(changed) >= quiet {
			return changed, nil
		}
		if err := sleep(ctx, look); err != nil {
			return changed, fmt.Errorf("waiting for an idle operator after %.0f reconciliations: %w", last, err)
		}
	}
}

// withLog kills the process and adds its log to an error.
func (o *operator) withLog(err error) error {
	o.kill() // the log is complete then
	return fmt.Errorf("%w; log of the operator:\n%s", err, o.log)
}

// kill ends the process like a crash and waits for its end.
func (o *operator) kill() {
	if o.process == 0 {
		return
	}
	_ = o.command.Process.Kill() // it may have exited already
	<-o.exited
}

// stop kills the process and removes its files.
func (o *operator) stop() {
	o.kill()
	os.RemoveAll(o.dir)
}
