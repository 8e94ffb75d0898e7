// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
)

// Timeouts. They are generous, because a busy machine is not a bug.
const (
	soon      = 30 * time.Second // for immediate actions of the operator
	start     = 3 * time.Minute  // for the start of a pod
	lookEvery = 250 * time.Millisecond
)

// world is the namespace of a test, with the programs of its user.
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	random := make([]byte, 4)
	rand.Read(random)
	w := &world{T: t, ctx: t.Context(), namespace: "e2e-" + hex.EncodeToString(random)}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
	}}}
	if err := suite.client.Create(w.ctx, namespace); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Logf("namespace %s", w.namespace)
	t.Cleanup(func() { w.deleteNamespace(namespace) })
	return w
}

// deleteNamespace deletes the namespace and waits until it is gone: no object of the operator may block it.
func (w *world) deleteNamespace(namespace *corev1.Namespace) {
	ctx, cancel := context.WithTimeout(context.Background(), start)
	defer cancel()
	if w.Failed() {
		w.Log(w.report(ctx))
	}
	if err := suite.client.Delete(ctx, namespace); err != nil {
		w.Errorf("deleting the namespace: %v", err)
		return
	}
	err := poll(ctx, func() error {
		err := suite.client.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return firstError(err, fmt.Errorf("the namespace %s is still there: %+v", namespace.Name, namespace.Status))
	})
	if err != nil {
		w.Errorf("deleting the namespace: %v", err)
	}
}

// firstError returns err, or otherwise if err is nil.
func firstError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// report returns the state of the cluster for analysing a failed test.
func (w *world) report(ctx context.Context) string {
	var out strings.Builder
	for _, command := range []string{
		"kubectl get jupyterservers -o yaml",
		"kubectl get statefulsets,pods,services,ingresses,networkpolicies,persistentvolumeclaims,secrets -o wide",
		"kubectl get events --sort-by=.metadata.creationTimestamp",
		"kubectl describe pods",
		"kubectl logs --prefix --tail=30 -l app.kubernetes.io/name=jupyter-server",
		"kubectl logs -n " + operatorNamespace + " deployment/" + operatorDeployment + " --tail=60",
	} {
		args := strings.Fields(command)
		text, err := w.tryRun(ctx, "", args[0], args[1:]...)
		fmt.Fprintf(&out, "\n--- %s\n%s", command, text)
		if err != nil {
			fmt.Fprintf(&out, "%v\n", err)
		}
	}
	return out.String()
}

// tryRun runs a program in the namespace of the test and returns its stdout. The error contains stderr.
func (w *world) tryRun(ctx context.Context, stdin, program string, args ...string) (string, error) {
	if !slices.Contains(args, "-n") && (program == "kubectl" || program == "helm") {
		args = append([]string{"-n", w.namespace}, args...)
	}
	command := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (w *world) kubectl(args ...string) string { w.Helper(); return w.run("kubectl", args...) }
func (w *world) helm(args ...string) string    { w.Helper(); return w.run("helm", args...) }

func (w *world) run(program string, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, start)
	defer cancel()
	out, err := w.tryRun(ctx, "", program, args...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// host returns a host name that is unique to the test, so that tests do not conflict at the ingress controller.
func (w *world) host() string { return w.namespace + ".localhost" }

// manifest returns a small server at /NAME of the test's host, with the given parts of a spec (YAML) merged into it.
func (w *world) manifest(name string, spec ...string) string {
	w.Helper()
	base := fmt.Sprintf(`
jupyterServer:
  image: %s
  imagePullPolicy: IfNotPresent
  resources: {requests: {cpu: 10m, memory: 64Mi}}
routing: {host: %s, path: /%s}
`, suite.image, w.host(), name)
	merged := map[string]any{}
	for _, part := range append([]string{base}, spec...) {
		var values map[string]any
		if err := yaml.UnmarshalStrict([]byte(part), &values); err != nil {
			w.Fatalf("%v in\n%s", err, part)
		}
		merge(merged, values)
	}
	raw, err := yaml.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind,
		"metadata": map[string]any{"name": name}, "spec": merged,
	})
	if err != nil {
		w.Fatal(err)
	}
	return string(raw)
}

func merge(into, values map[string]any) {
	for key, value := range values {
		inner, isMap := value.(map[string]any)
		there, wasMap := into[key].(map[string]any)
		if isMap && wasMap {
			merge(there, inner)
			continue
		}
		into[key] = value
	}
}

// apply applies a server with kubectl.
func (w *world) apply(name string, spec ...string) {
	w.Helper()
	if err := w.tryApply(w.manifest(name, spec...)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) tryApply(manifest string) error {
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	_, err := w.tryRun(ctx, manifest, "kubectl", "apply", "-f", "-")
	return err
}

// await waits until a check of a server succeeds, and returns the server.
func (w *world) await(name, what string, limit time.Duration, check func(*v1alpha1.JupyterServer) error) *v1alpha1.JupyterServer {
	w.Helper()
	server := &v1alpha1.JupyterServer{}
	w.eventually(name+" "+what, limit, func() error {
		if err := w.tryGet(name, server); err != nil {
			return err
		}
		if server.Status.ObservedGeneration != server.Generation {
			return fmt.Errorf("the operator has not observed generation %d: %s", server.Generation, brief(server))
		}
		if err := check(server); err != nil {
			return fmt.Errorf("%w: %s", err, brief(server))
		}
		return nil
	})
	return server
}

// running waits until a server is running with its current spec.
func (w *world) running(name string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.await(name, "is running", start, isRunning)
}

func isRunning(server *v1alpha1.JupyterServer) error {
	if server.Status.State != v1alpha1.StateRunning || !meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReady) {
		return errors.New("not running")
	}
	return nil
}

// stalled waits until a server is stalled with a reason.
func (w *world) stalled(name, reason string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.await(name, "is stalled", soon, func(server *v1alpha1.JupyterServer) error {
		condition := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionStalled)
		if condition == nil || condition.Status != metav1.ConditionTrue || condition.Reason != reason {
			return fmt.Errorf("not stalled with reason %s", reason)
		}
		return nil
	})
}

// failed waits until a server has failed with a message that contains all words.
func (w *world) failed(name string, words ...string) *v1alpha1.JupyterServer {
	w.Helper()
	return w.await(name, "has failed", start, func(server *v1alpha1.JupyterServer) error {
		if server.Status.State != v1alpha1.StateFailed {
			return errors.New("not failed")
		}
		for _, word := range words {
			if !strings.Contains(server.Status.Message, word) {
				return fmt.Errorf("the message lacks %q", word)
			}
		}
		return nil
	})
}

// brief returns a server's status in one line.
func brief(server *v1alpha1.JupyterServer) string {
	conditions := map[string]string{}
	for _, c := range server.Status.Conditions {
		conditions[c.Type] = fmt.Sprintf("%s=%s (%s)", c.Type, c.Status, c.Reason)
	}
	return fmt.Sprintf("state %s, message %q, pod %+v, release %+v, %s", server.Status.State, server.Status.Message, server.Status.Pod,
		server.Status.Release, strings.Join(slices.Sorted(maps.Values(conditions)), ", "))
}

// eventually waits until a check succeeds, and fails with its last error.
func (w *world) eventually(what string, limit time.Duration, check func() error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	begun := time.Now()
	if err := poll(ctx, check); err != nil {
		w.Fatalf("%s: timed out after %s: %v", what, time.Since(begun).Round(time.Second), err)
	}
}

func poll(ctx context.Context, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lookEvery):
		}
	}
}

func (w *world) get(name string, o client.Object) {
	w.Helper()
	if err := w.tryGet(name, o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) tryGet(name string, o client.Object) error {
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	if err := suite.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, o); err != nil {
		return fmt.Errorf("%T %s: %w", o, name, err)
	}
	return nil
}

// gone returns an error unless an object does not exist.
func (w *world) gone(name string, o client.Object) error {
	err := w.tryGet(name, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return firstError(err, fmt.Errorf("%T %s is still there", o, name))
}

// token reads the token as documented in the example.
func (w *world) token(name string) string {
	w.Helper()
	secret := &corev1.Secret{}
	w.get(name+"-jupyter", secret)
	token := string(secret.Data["token"])
	if len(token) < 32 {
		w.Fatalf("the token of %s has only %d characters", name, len(token))
	}
	return token
}

// jupyter returns a client with a token at the server's URL.
func (w *world) jupyter(server *v1alpha1.JupyterServer, token string) *jupyter.Client {
	w.Helper()
	client, err := jupyter.New(server.Status.URL, token)
	if err != nil {
		w.Fatalf("status.url of %s: %v", server.Name, err)
	}
	w.Cleanup(client.Close)
	return client
}

// answers waits until the server responds at its URL with its token: the ingress controller may notice it shortly after it is
// ready.
func (w *world) answers(server *v1alpha1.JupyterServer, token string) *jupyter.Client {
	w.Helper()
	client := w.jupyter(server, token)
	w.eventually(server.Status.URL+" answers", soon, func() error {
		return w.ask(client.Status)
	})
	return client
}

// ask makes one call to Jupyter with a deadline.
func (w *world) ask(call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	return call(ctx)
}

func (w *world) putFile(client *jupyter.Client, path, text string) {
	w.Helper()
	err := w.ask(func(ctx context.Context) error { return client.PutFile(ctx, path, text) })
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) wantFile(client *jupyter.Client, path, want string) {
	w.Helper()
	var got string
	err := w.ask(func(ctx context.Context) (err error) {
		got, err = client.File(ctx, path)
		return err
	})
	if err != nil {
		w.Fatalf("the file %s: %v", path, err)
	}
	if got != want {
		w.Fatalf("the file %s contains %q, want %q", path, got, want)
	}
}

// cell runs a cell in a new kernel.
func (w *world) cell(client *jupyter.Client, code string) jupyter.Output {
	w.Helper()
	return w.cellWithin(client, time.Minute, code)
}

func (w *world) cellWithin(client *jupyter.Client, limit time.Duration, code string) jupyter.Output {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	kernel, err := client.StartKernel(ctx)
	if err != nil {
		w.Fatal(err)
	}
	out, err := client.Execute(ctx, kernel, code)
	if err := errors.Join(err, client.DeleteKernel(ctx, kernel)); err != nil {
		w.Fatal(err)
	}
	return out
}

// server applies a server, waits until it responds, and writes a file.
func (w *world) server(name string, spec ...string) (*v1alpha1.JupyterServer, *jupyter.Client) {
	w.Helper()
	w.apply(name, spec...)
	server := w.running(name)
	client := w.answers(server, w.token(name))
	w.putFile(client, "kept.txt", "of "+name)
	return server, client
}

// checkFile checks that the server still has its file and its token.
func (w *world) checkFile(server *v1alpha1.JupyterServer, token string) {
	w.Helper()
	w.wantFile(w.answers(server, token), "kept.txt", "of "+server.Name)
}
