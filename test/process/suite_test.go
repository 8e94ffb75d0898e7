// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2/textlogger"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// operators is the group of the users of operator processes.
const operators = "operators"

// suite is shared by all tests: one control plane. A test that stops it is not parallel, so that it runs before the others.
var suite struct {
	env        *envtest.Environment
	client     client.Client
	audit      *auditLog
	binary     string
	kubeconfig string // of the administrator
	seed       uint64
	// apiserverPID is a file with the process ID of the API server, which envtest does not expose.
	apiserverPID string
}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctrl.SetLogger(textlogger.NewLogger(textlogger.NewConfig()))
	dir, err := os.MkdirTemp("", "process-test")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	built := make(chan error, 1)
	suite.binary = filepath.Join(dir, "jupyter-server-operator")
	go func() { built <- build(suite.binary) }()
	defer func() {
		if suite.env != nil {
			err = errors.Join(err, suite.env.Stop())
		}
	}()
	if err := errors.Join(startControlPlane(dir), <-built); err != nil {
		return 1, err
	}
	suite.seed = uint64(time.Now().UnixNano())
	if err := flag.Set("test.parallel", "8"); err != nil { // tests mostly wait
		return 1, err
	}
	return m.Run(), nil
}

// build builds the operator, with the race detector if the test has it.
func build(binary string) error {
	args := []string{"build", "-o", binary, "-ldflags", "-s -w"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "-race" && setting.Value == "true" {
				args = append(args, "-race")
			}
		}
	}
	out, err := exec.CommandContext(context.Background(), "go", append(args, "../../operator")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return nil
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {level: Metadata, userGroups: [` + operators + `], verbs: [create, update, patch, delete, deletecollection]}
  - {level: None}
`

func startControlPlane(dir string) error {
	policy, certificates := filepath.Join(dir, "audit.yaml"), filepath.Join(dir, "apiserver")
	suite.audit = &auditLog{path: filepath.Join(dir, "audit.log")}
	program := filepath.Join(dir, "kube-apiserver")
	suite.apiserverPID = filepath.Join(dir, "kube-apiserver.pid")
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %s\nexec %s/kube-apiserver \"$@\"\n", suite.apiserverPID, os.Getenv("KUBEBUILDER_ASSETS"))
	err := errors.Join(
		os.WriteFile(policy, []byte(auditPolicy), 0o600), os.Mkdir(certificates, 0o700),
		os.WriteFile(program, []byte(script), 0o700),
	)
	if err != nil {
		return err
	}
	env, cfg, err := apiservertest.Start(func(env *envtest.Environment) {
		server := env.ControlPlane.GetAPIServer()
		server.Path = program
		server.CertDir = certificates // a generated directory is removed when the API server stops
		server.Configure().Set("audit-policy-file", policy).Set("audit-log-path", suite.audit.path)
	})
	if err != nil {
		return err
	}
	suite.env, suite.kubeconfig = env, filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(suite.kubeconfig, env.KubeConfig, 0o600); err != nil {
		return err
	}
	if suite.client, err = apiservertest.NewClient(cfg); err != nil {
		return err
	}
	return grant(suite.client)
}

// grant gives the operators the permissions of helm-chart.
func grant(c client.Client) error {
	raw, err := os.ReadFile("../../helm-chart/files/role.yaml")
	if err != nil {
		return err
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(raw, role); err != nil {
		return err
	}
	role.Rules = append(role.Rules,
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create", "get", "update"}},
	)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: operators},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: operators}},
	}
	ctx := context.Background()
	return errors.Join(c.Create(ctx, role), c.Create(ctx, binding))
}

// random returns a source of random numbers, which is deterministic for a seed.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the seed was %d", suite.seed)
		}
	})
	return rand.New(rand.NewPCG(suite.seed, 0))
}
