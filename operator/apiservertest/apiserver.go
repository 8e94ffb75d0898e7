// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiservertest runs test suites against a real etcd and kube-apiserver with the CRD of JupyterServers. There are no
// controllers other than those under test: no pod ever starts, and nothing is garbage-collected.
package apiservertest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2/textlogger"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// ControlPlane is a running etcd and kube-apiserver.
type ControlPlane struct {
	Environment *envtest.Environment
	Config      *rest.Config     // of an administrator, without a rate limit
	Client      client.WithWatch // see NewClient
	Kubeconfig  string           // path of a kubeconfig of an administrator
	Stop        func() error     // for prepare to set, called after the tests; it may be nil
}

// Main is for TestMain: it starts the control plane, calls prepare, runs the tests, and exits the process.
func Main(m *testing.M, prepare func(*ControlPlane) error) {
	code, err := run(m, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M, prepare func(*ControlPlane) error) (int, error) {
	env, cfg, err := Start()
	if err != nil {
		return 1, err
	}
	defer func() { _ = env.Stop() }()
	ctrl.SetLogger(textlogger.NewLogger(textlogger.NewConfig()))
	dir, err := os.MkdirTemp("", "apiservertest")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	cp := &ControlPlane{Environment: env, Config: cfg, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	if err := os.WriteFile(cp.Kubeconfig, env.KubeConfig, 0o600); err != nil {
		return 1, err
	}
	if cp.Client, err = NewClient(cfg); err != nil {
		return 1, err
	}
	if err := prepare(cp); err != nil {
		return 1, err
	}
	code := m.Run()
	if cp.Stop == nil {
		return code, nil
	}
	return code, cp.Stop()
}

// NotCached keeps the result of this test binary out of the cache of `go test`. TestMain calls it before it runs the tests, unless
// it calls Main or Start, which do.
//
// A cached result is reused while the test binary, the environment variables that it reads and the files that it opens are the
// same. But only reads during m.Run count, and only files of the module (cmd/go/internal/test, computeTestInputsID). The programs
// of the control plane are not among them: the result would stay for another kube-apiserver, and for none. The go command does not
// store a result without the log of these reads (saveOutput), so NotCached turns the log off.
func NotCached() error {
	if !testing.Testing() {
		return nil
	}
	if !flag.Parsed() {
		flag.Parse()
	}
	if err := flag.Set("test.testlogfile", ""); err != nil {
		return fmt.Errorf("turning off the log of test inputs: %w", err)
	}
	return nil
}

// Start starts the control plane, after calling configure. The caller has to stop it. The returned client configuration has no
// rate limit. The result of the tests is not cached, see NotCached.
func Start(configure ...func(*envtest.Environment)) (*envtest.Environment, *rest.Config, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, nil, errors.New("KUBEBUILDER_ASSETS is not set: run `make test-unit`, or set it to what `cd test/localcluster && go run . bin` prints")
	}
	if err := NotCached(); err != nil {
		return nil, nil, err
	}
	_, here, _, _ := runtime.Caller(0)
	env := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join(filepath.Dir(here), "../api/schema")}, ErrorIfCRDPathMissing: true}
	// envtest's own range has room for 254 Services, and nothing deletes those of finished tests here.
	env.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	for _, c := range configure {
		c(env)
	}
	cfg, err := env.Start()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("starting the control plane: %w", err), env.Stop()) // part of it may be running
	}
	cfg.QPS, cfg.Burst = -1, 1
	return env, cfg, nil
}

// NewClient returns a client for JupyterServers and the built-in types of Kubernetes.
func NewClient(cfg *rest.Config) (client.WithWatch, error) {
	scheme := k8sruntime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	return c, nil
}
