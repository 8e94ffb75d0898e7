// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const (
	operatorNamespace  = "jupyter-server-operator"
	operatorDeployment = "jupyter-server-operator"
)

// suite is shared by all tests.
var suite struct {
	client client.Client
	image  string
	// issuer is the OpenID provider of the cluster, or "".
	issuer string
	// localcluster is the folder of the local cluster's command, or "" for another cluster.
	localcluster string
}

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func prepare() (err error) {
	if os.Getenv("KUBECONFIG") == "" {
		return errors.New("KUBECONFIG is not set: run `make test-e2e`, which starts a cluster and sets it")
	}
	for _, program := range []string{"kubectl", "helm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("the tests need %s: run `make test-e2e`, which adds it to PATH: %w", program, err)
		}
	}
	suite.image = cmp.Or(os.Getenv("E2E_JUPYTER_IMAGE"), "localhost/jupyterlab:4.0")
	if suite.localcluster, err = localcluster(os.Getenv("LOCALCLUSTER")); err != nil {
		return err
	}
	if suite.issuer, err = issuer(os.Getenv("E2E_ISSUER")); err != nil {
		return err
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("reading KUBECONFIG: %w", err)
	}
	cfg.QPS, cfg.Burst = 100, 200
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if suite.client, err = client.New(cfg, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connecting to the cluster of KUBECONFIG: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return operatorRuns(ctx)
}

// localcluster returns the folder of the local cluster's command. Its absence has to be explicit, so that no test is skipped by
// mistake.
func localcluster(variable string) (string, error) {
	switch variable {
	case "":
		return "", errors.New("LOCALCLUSTER is not set: set it to the folder test/localcluster, or to `none` for another cluster")
	case "none":
		return "", nil
	}
	if _, err := os.Stat(variable); err != nil {
		return "", fmt.Errorf("LOCALCLUSTER: %w", err)
	}
	return variable, nil
}

// issuer returns the OpenID provider, whose absence also has to be explicit.
func issuer(variable string) (string, error) {
	switch variable {
	case "":
		return "", errors.New("E2E_ISSUER is not set: set it to the URL of a provider of test/e2e/provider/serve, or to `none`")
	case "none":
		return "", nil
	}
	return variable, nil
}

func operatorRuns(ctx context.Context) error {
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: operatorNamespace, Name: operatorDeployment}
	if err := suite.client.Get(ctx, key, deployment); err != nil {
		return fmt.Errorf("the operator is not installed in the cluster of KUBECONFIG: run `make test-e2e`, which installs it: %w", err)
	}
	if deployment.Status.AvailableReplicas == 0 {
		return fmt.Errorf("no pod of the operator is ready: see `kubectl -n %s describe pods`", operatorNamespace)
	}
	return nil
}
