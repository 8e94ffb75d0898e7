// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
)

// TestTenThousandTurns runs many turns of the loop. The memory must not grow after the first of them, and no goroutine may be left
// after the operator has stopped.
func TestTenThousandTurns(t *testing.T) {
	const warm, all = 2_000, 10_000
	before := goleak.IgnoreCurrent()
	crowd := newCrowd(t)
	o := start(t, func(next http.RoundTripper) http.RoundTripper { return next })
	crowd.settled(t)

	first := turns(t)
	var heapBefore uint64
	for round := 0; turns(t)-first < all; round++ {
		if heapBefore == 0 && turns(t)-first >= warm {
			heapBefore = heap()
		}
		crowd.disturb(t, round)
		o.wakeAll(t, len(crowd.namespaces))
	}
	crowd.settled(t)
	heapAfter := heap()
	if bound := heapBefore + heapBefore/5 + 4<<20; heapAfter > bound {
		t.Errorf("%d bytes in use after %d turns, %d after %d: want %d at most", heapBefore, warm, heapAfter, all, bound)
	}
	t.Logf("%d KiB in use after %d turns, %d KiB after %d", heapBefore>>10, warm, heapAfter>>10, turns(t)-first)
	o.stop()
	leaks := []goleak.Option{
		before,
		// The connections of client-go, which all clients of the process share.
		goleak.IgnoreAnyFunction("net/http/internal/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"), // the same, where the test's own clients use that package
		// A watch for metadata that ends while an event is under way (controller-runtime v0.25.2, pkg/cache/internal/informers.go,
		// newGVKFixupWatcher): the event is never received. There is one for each such watch when the operator stops.
		goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
	}
	if err := goleak.Find(leaks...); err != nil {
		t.Error(err)
	}
}

// crowd is servers of all sorts: with a token and with OIDC, suspended, waiting for a pod, and rejected by a policy. There are few of
// the last two, because their turns take longest: these list events or evaluate the policies.
type crowd struct {
	namespaces []string
	rejected   map[string]bool
}

func newCrowd(t *testing.T) crowd {
	t.Helper()
	sorts := []func(namespace string) *v1alpha1.JupyterServer{tokenServer, oidcServer, rejected, rejected}
	for len(sorts) < 40 {
		sorts = append(sorts, suspended(tokenServer), suspended(tokenServer), suspended(oidcServer))
	}
	c := crowd{rejected: map[string]bool{}}
	for i, sort := range sorts {
		namespace := newNamespace(t)
		c.namespaces = append(c.namespaces, namespace)
		c.rejected[namespace] = i == 2 || i == 3
		if err := create(sort)(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func suspended(server func(string) *v1alpha1.JupyterServer) func(string) *v1alpha1.JupyterServer {
	return func(namespace string) *v1alpha1.JupyterServer {
		s := server(namespace)
		s.Spec.Suspend = true
		return s
	}
}

func rejected(namespace string) *v1alpha1.JupyterServer {
	s := tokenServer(namespace)
	s.Spec.Auth.Mode = v1alpha1.AuthModeNone
	return s
}

// settled waits until all servers are released or rejected.
func (c crowd) settled(t *testing.T) {
	t.Helper()
	eventually(t, "servers of all sorts", func() error {
		var errs []error
		for _, namespace := range c.namespaces {
			if c.rejected[namespace] {
				errs = append(errs, isRejected(t.Context(), namespace))
				continue
			}
			errs = append(errs, settled(t.Context(), namespace))
		}
		return errors.Join(errs...)
	})
}

// isRejected returns an error unless a server is rejected by a policy.
func isRejected(ctx context.Context, namespace string) error {
	server := &v1alpha1.JupyterServer{}
	if err := suite.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: serverName}, server); err != nil {
		return err
	}
	if !meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant) {
		return fmt.Errorf("%s is not rejected: %+v", namespace, server.Status)
	}
	return nil
}

// disturb edits a foreign field of an object. Every five rounds it also labels a server and deletes an object of another.
func (c crowd) disturb(t *testing.T, round int) {
	t.Helper()
	at := func(i int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: c.namespaces[(round*3+i)%len(c.namespaces)], Name: serverName}
	}
	label := fmt.Appendf(nil, `{"metadata":{"labels":{"example.org/round":"%d"}}}`, round)
	patch := client.RawPatch(types.MergePatchType, label)
	err := client.IgnoreNotFound(suite.client.Patch(t.Context(), &appsv1.StatefulSet{ObjectMeta: at(0)}, patch))
	if round%5 == 0 {
		err = errors.Join(err,
			suite.client.Patch(t.Context(), &v1alpha1.JupyterServer{ObjectMeta: at(1)}, patch),
			client.IgnoreNotFound(suite.client.Delete(t.Context(), &corev1.Service{ObjectMeta: at(2)})))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wakeAll triggers a turn of all servers and waits for them.
func (o *operator) wakeAll(t *testing.T, servers int) {
	t.Helper()
	before := turns(t)
	o.wake <- event.GenericEvent{Object: judge.NamespaceObject()}
	for deadline := time.Now().Add(time.Minute); turns(t)-before < servers; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d turns of %d servers", turns(t)-before, servers)
		}
	}
}

// turns returns the number of turns of the loop in this process.
func turns(t *testing.T) int {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			total += metric.GetCounter().GetValue()
		}
	}
	return int(total)
}

// heap returns the number of bytes in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // the second frees objects with finalizers
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
