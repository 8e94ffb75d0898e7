// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// operator is an installation of the operator, with at most one process at a time.
type operator struct {
	*testing.T
	user       string
	args       []string
	kubeconfig string
	log        string

	begin int // offset of this process's log
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has exited
	err   error         // its exit status
}

// users numbers the users. They are added one at a time, because envtest's certificate authority is not safe for concurrent use.
var users struct {
	sync.Mutex
	added int
}

func addUser() (name string, kubeconfig []byte, err error) {
	users.Lock()
	defer users.Unlock()
	users.added++
	name = fmt.Sprintf("operator-%d", users.added)
	user, err := suite.env.AddUser(envtest.User{Name: name, Groups: []string{operators}}, nil)
	if err != nil {
		return "", nil, err
	}
	kubeconfig, err = user.KubeConfig()
	return name, kubeconfig, err
}

// operator starts an operator for the namespaces of a test.
func (w *world) operator(flags ...string) *operator {
	w.Helper()
	user, kubeconfig, err := addUser()
	if err != nil {
		w.Fatalf("adding a user: %v", err)
	}
	o := &operator{T: w.T, user: user}
	dir := w.TempDir()
	o.kubeconfig, o.log = filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "log")
	if err := os.WriteFile(o.kubeconfig, kubeconfig, 0o600); err != nil {
		w.Fatal(err)
	}
	o.args = append([]string{
		"run", "--namespaces=" + strings.Join(w.namespaces, ","), "--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=debug",
	}, flags...)
	o.start()
	w.Cleanup(o.cleanUp)
	return o
}

func (o *operator) start() {
	o.Helper()
	o.begin = len(o.output())
	log, err := os.OpenFile(o.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		o.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(suite.binary, o.args...) //nolint:noctx // the tests end it by signals
	cmd.Env = append(os.Environ(), "KUBECONFIG="+o.kubeconfig)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		o.Fatalf("starting the operator: %v", err)
	}
	o.cmd, o.ended = cmd, make(chan struct{})
	go func() {
		o.err = cmd.Wait()
		close(o.ended)
	}()
}

// kill sends SIGKILL.
func (o *operator) kill() {
	_ = o.cmd.Process.Kill()
	<-o.ended
}

// stop sends SIGTERM like the kubelet. The operator must exit without an error.
func (o *operator) stop() {
	o.Helper()
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		o.Fatalf("stopping the operator: %v", err)
	}
	select {
	case <-o.ended:
	case <-time.After(time.Minute):
		o.Fatal("the operator did not stop")
	}
	if o.err != nil {
		o.Errorf("the operator exited with %v", o.err)
	}
}

// isRunning reports whether the process is running.
func (o *operator) isRunning() bool {
	select {
	case <-o.ended:
		return false
	default:
		return true
	}
}

// checkStarted returns an error until the last started process works on servers.
func (o *operator) checkStarted() error {
	if !o.isRunning() {
		o.Fatalf("%s exited: %v", o.user, o.err)
	}
	if !bytes.Contains(o.output()[o.begin:], []byte("Starting workers")) {
		return errors.New("the operator has not started its workers yet")
	}
	return nil
}

func (o *operator) output() []byte {
	out, err := os.ReadFile(o.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		o.Fatal(err)
	}
	return out
}

func (o *operator) cleanUp() {
	o.kill()
	out := o.output()
	for _, sign := range []string{"DATA RACE", "panic"} {
		if bytes.Contains(out, []byte(sign)) {
			o.Errorf("%s of %s", sign, o.user)
		}
	}
	if o.Failed() {
		const last = 8 << 10
		o.Logf("end of the log of %s:\n%s", o.user, out[max(0, len(out)-last):])
	}
}
