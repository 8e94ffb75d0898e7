// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/jupyter"
)

func TestFilesSurviveTheContainerAndThePod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, alice := w.server("alice")
	token := w.token("alice")

	w.killJupyter(alice, "alice-0")
	server := w.await("alice", "is back after its container was killed", start, func(s *v1alpha1.JupyterServer) error {
		if s.Status.Pod == nil || s.Status.Pod.Restarts == 0 {
			return errors.New("the container was not restarted")
		}
		return isRunning(s)
	})
	w.checkFile(server, token)

	before := w.podUID("alice-0")
	w.kubectl("delete", "pod", "alice-0", "--wait=false")
	w.eventually("a new pod", start, func() error { return w.podReplaced("alice-0", before) })
	w.checkFile(w.running("alice"), token)
}

func (w *world) podUID(name string) string {
	w.Helper()
	pod := &corev1.Pod{}
	w.get(name, pod)
	return string(pod.UID)
}

// podReplaced returns an error until another pod has the name and is ready.
func (w *world) podReplaced(name, before string) error {
	pod := &corev1.Pod{}
	if err := w.tryGet(name, pod); err != nil {
		return err
	}
	if string(pod.UID) == before {
		return fmt.Errorf("the pod %s is still the old one", name)
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("the new pod %s is not ready: %+v", name, pod.Status.ContainerStatuses)
}

// killJupyter kills Jupyter like a crash. No process can kill the first process of its PID namespace (pid_namespaces(7)), so
// on a local node the signal is sent from outside. On other nodes a kernel sends SIGTERM to Jupyter.
func (w *world) killJupyter(client *jupyter.Client, pod string) {
	w.Helper()
	if suite.localcluster != "" {
		w.killOnNode(pod, "jupyter")
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	kernel, err := client.StartKernel(ctx)
	if err != nil {
		w.Fatal(err)
	}
	_, err = client.Execute(ctx, kernel, "import os, signal; os.kill(os.getppid(), signal.SIGTERM)")
	w.Logf("sent SIGTERM to Jupyter: %v", err) // the response may be lost
}

// killOnNode kills the first process of a container.
func (w *world) killOnNode(name, container string) {
	w.Helper()
	pod := &corev1.Pod{}
	w.get(name, pod)
	var id string
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if status.Name == container {
			_, id, _ = strings.Cut(status.ContainerID, "://")
		}
	}
	pid, err := firstProcess(id)
	if err != nil {
		w.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.Fatalf("killing process %d of container %s: %v", pid, id, err)
	}
}

// firstProcess returns the process of a container with PID 1 in the container.
func firstProcess(container string) (int, error) {
	if container == "" {
		return 0, errors.New("the pod's status has no container ID")
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, folder := range folders {
		cgroup, err := os.ReadFile(folder + "/cgroup")
		if err != nil || !strings.Contains(string(cgroup), container) {
			continue // it exited meanwhile, or is not readable
		}
		status, err := os.ReadFile(folder + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if pids, found := strings.CutPrefix(line, "NSpid:"); found && strings.HasSuffix(strings.TrimSpace(pids), "\t1") {
				return strconv.Atoi(filepath.Base(folder))
			}
		}
	}
	return 0, fmt.Errorf("no process on this machine has PID 1 in container %s", container)
}

// It is not parallel, because it affects all servers.
func TestFilesSurviveTheNode(t *testing.T) {
	if suite.localcluster == "" {
		t.Skip("LOCALCLUSTER is none: nodes of other clusters are not restarted")
	}
	w := newWorld(t)
	w.server("alice")
	token := w.token("alice")
	restart := exec.CommandContext(w.ctx, "go", "run", ".", "restart-node")
	restart.Dir = suite.localcluster
	if out, err := restart.CombinedOutput(); err != nil {
		t.Fatalf("restarting the node: %v\n%s", err, out)
	}
	w.eventually("alice has its file after the restart", start, func() error {
		server := &v1alpha1.JupyterServer{}
		if err := w.tryGet("alice", server); err != nil {
			return err
		}
		if err := isRunning(server); err != nil {
			return fmt.Errorf("%w: %s", err, brief(server))
		}
		return w.ask(w.jupyter(server, token).Status)
	})
	w.checkFile(w.running("alice"), token)
	w.eventually("the operator is back", start, func() error {
		ctx, cancel := context.WithTimeout(w.ctx, soon)
		defer cancel()
		return operatorRuns(ctx)
	})
}

func TestSuspendKeepsFilesTokenAndURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	running, _ := w.server("alice")
	token := w.token("alice")

	w.apply("alice", `suspend: true`)
	suspended := w.await("alice", "is suspended", start, inState(v1alpha1.StateSuspended))
	if suspended.Status.URL != running.Status.URL || suspended.Status.Pod != nil {
		t.Errorf("suspended: %s, url %q, want no pod and %q", brief(suspended), suspended.Status.URL, running.Status.URL)
	}
	if err := w.gone("alice-0", &corev1.Pod{}); err != nil {
		t.Error(err)
	}
	w.get("alice", &corev1.PersistentVolumeClaim{})
	w.kubectl("wait", "--for=condition=Ready", "jupyterserver/alice", "--timeout=5s") // a suspended server is Ready

	w.apply("alice")
	resumed := w.running("alice")
	if w.token("alice") != token {
		t.Error("the token changed")
	}
	w.checkFile(resumed, token)
}

func inState(state v1alpha1.State) func(*v1alpha1.JupyterServer) error {
	return func(server *v1alpha1.JupyterServer) error {
		if server.Status.State != state {
			return fmt.Errorf("not %s", state)
		}
		return nil
	}
}

func TestLargerSizeReachesTheClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server("alice", `storage: {size: 1Gi}`)
	pod := w.podUID("alice-0")
	w.apply("alice", `storage: {size: 2Gi}`)
	w.running("alice")
	claim := &corev1.PersistentVolumeClaim{}
	w.get("alice", claim)
	if got := claim.Spec.Resources.Requests.Storage().String(); got != "2Gi" {
		t.Errorf("the claim requests %s, want 2Gi", got)
	}
	if w.podUID("alice-0") != pod {
		t.Error("a larger claim replaced the pod")
	}
}

func TestEphemeralServerHasNoClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, _ := w.server("alice", `storage: {ephemeral: true}`)
	w.checkFile(server, w.token("alice"))
	if err := w.gone("alice", &corev1.PersistentVolumeClaim{}); err != nil {
		t.Error(err)
	}
}

func TestDeletedServerLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server("alice")
	w.kubectl("delete", "jupyterserver", "alice")
	w.eventually("nothing is left", start, func() error { return w.leftovers() })
}

// leftovers returns an error with the objects of servers that are still in the namespace.
func (w *world) leftovers() error {
	ctx, cancel := context.WithTimeout(w.ctx, soon)
	defer cancel()
	kinds := "jupyterservers,statefulsets,controllerrevisions,pods,services,ingresses,networkpolicies,persistentvolumeclaims,secrets"
	out, err := w.tryRun(ctx, "", "kubectl", "get", kinds, "-o", "name")
	if err != nil {
		return err
	}
	if out = strings.TrimSpace(out); out != "" {
		return fmt.Errorf("still there: %s", strings.ReplaceAll(out, "\n", ", "))
	}
	return nil
}

func TestRetainedClaimIsAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const retain = `storage: {retain: true}`
	w.server("alice", retain)
	old := w.token("alice")
	claim := &corev1.PersistentVolumeClaim{}
	w.get("alice", claim)
	w.kubectl("delete", "jupyterserver", "alice")
	w.eventually("only the claim is left", start, func() error {
		return ignore(w.leftovers(), "still there: persistentvolumeclaim/alice")
	})
	w.get("alice", claim)
	if len(claim.OwnerReferences) > 0 || claim.DeletionTimestamp != nil {
		t.Fatalf("the claim is deleted too: owners %+v, deleted %v", claim.OwnerReferences, claim.DeletionTimestamp)
	}

	w.apply("alice", retain)
	server := w.running("alice")
	if w.token("alice") == old {
		t.Error("the new server has the token of the deleted one")
	}
	w.checkFile(server, w.token("alice"))
}

func ignore(err error, expected string) error {
	if err != nil && err.Error() == expected {
		return nil
	}
	return err
}

func TestExistingClaimIsUsedAndNeverDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", `storage: {existingClaim: mine}`)
	w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	if err := w.tryApply(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: mine}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`); err != nil {
		t.Fatal(err)
	}
	w.server("alice", `storage: {existingClaim: mine}`)
	w.kubectl("delete", "jupyterserver", "alice")
	w.eventually("only the claim is left", start, func() error {
		return ignore(w.leftovers(), "still there: persistentvolumeclaim/mine")
	})
	w.apply("bob", `storage: {existingClaim: mine}`)
	w.wantFile(w.answers(w.running("bob"), w.token("bob")), "kept.txt", "of alice")
	claim := &corev1.PersistentVolumeClaim{}
	w.get("mine", claim)
	if len(claim.OwnerReferences) > 0 {
		t.Errorf("the claim is owned: %+v", claim.OwnerReferences)
	}
}
