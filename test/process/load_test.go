// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/net"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// userEdits are patches that users apply to their servers.
var userEdits = []string{
	`{"spec":{"suspend":true}}`,
	`{"spec":{"suspend":false}}`,
	`{"spec":{"jupyterServer":{"defaultUrl":"/tree"}}}`,
	`{"spec":{"jupyterServer":{"defaultUrl":"/lab"}}}`,
	`{"spec":{"jupyterServer":{"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}]}}}`,
	`{"spec":{"jupyterServer":{"env":[{"name":"B","value":"3"}]}}}`,
	`{"spec":{"jupyterServer":{"env":null}}}`,
	`{"spec":{"routing":{"annotations":{"nginx.ingress.kubernetes.io/proxy-body-size":"8m"}}}}`,
	`{"spec":{"routing":{"annotations":null}}}`,
	`{"spec":{"pod":{"labels":{"team":"physics"}}}}`,
	`{"spec":{"pod":{"labels":null}}}`,
	`{"spec":{"patches":[{"target":{"kind":"Service"},"type":"merge","patch":"{metadata: {labels: {team: physics}}}"}]}}`,
	`{"spec":{"patches":null}}`,
}

// objectEdits are for the first servers only: they add and remove objects of a release and change the keys of its Secret.
var objectEdits = []string{
	`{"spec":{"auth":{"mode":"oidc","oidc":{"issuerUrl":"https://id.example.org","clientId":"jupyter","allow":{"users":["alice"]}}}}}`,
	`{"spec":{"auth":null}}`,
}

// objectEditServers is the number of servers that get objectEdits.
const objectEditServers = 8

// drifts are changes of objects that the operator owns.
var drifts = []func(context.Context, metav1.ObjectMeta) error{
	func(ctx context.Context, meta metav1.ObjectMeta) error {
		return suite.client.Delete(ctx, &appsv1.StatefulSet{ObjectMeta: meta})
	},
	func(ctx context.Context, meta metav1.ObjectMeta) error {
		return suite.client.Delete(ctx, &corev1.Service{ObjectMeta: meta})
	},
	func(ctx context.Context, meta metav1.ObjectMeta) error {
		return suite.client.Delete(ctx, &networkingv1.Ingress{ObjectMeta: meta})
	},
	func(ctx context.Context, meta metav1.ObjectMeta) error {
		return merge(ctx, &appsv1.StatefulSet{ObjectMeta: meta}, `{"spec":{"replicas":3}}`)
	},
	func(ctx context.Context, meta metav1.ObjectMeta) error {
		return merge(ctx, &networkingv1.Ingress{ObjectMeta: meta}, `{"spec":{"rules":[{"host":"elsewhere.example.org"}]}}`)
	},
}

func merge(ctx context.Context, object client.Object, patch string) error {
	return suite.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// load simulates users of the servers of the first namespace until it is stopped: several at a time, with seven of ten edits to
// servers.
func (w *world) load(servers []string) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	var people sync.WaitGroup
	chance := random(w.T)
	for range 4 {
		own := rand.New(rand.NewPCG(chance.Uint64(), chance.Uint64()))
		people.Go(func() {
			for done := 0; ctx.Err() == nil; done++ {
				if err := w.edit(w.ctx, own, servers); err != nil {
					w.Errorf("a user: %v", err)
					return
				}
				pause(ctx, 20+own.IntN(60))
			}
		})
	}
	return func() { cancel(); people.Wait() }
}

func (w *world) edit(ctx context.Context, chance *rand.Rand, servers []string) error {
	server := chance.IntN(len(servers))
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: servers[server]}
	var what string
	var err error
	if chance.IntN(10) < 7 {
		what = userEdits[chance.IntN(len(userEdits))]
		if server < objectEditServers && chance.IntN(2) == 0 {
			what = objectEdits[chance.IntN(len(objectEdits))]
		}
		err = merge(ctx, &v1alpha1.JupyterServer{ObjectMeta: meta}, what)
	} else {
		drift := chance.IntN(len(drifts))
		what, err = fmt.Sprintf("drift %d", drift), drifts[drift](ctx, meta)
	}
	if apierrors.IsNotFound(err) || unreachable(err) {
		return nil // not created yet, or deleted
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", what, meta.Name, err)
	}
	return nil
}

// waitReverted waits until all drifts of a namespace are reverted. The operator backs off before it reverts repeated changes and
// reports that in the status, so this can take a while.
func (w *world) waitReverted(namespace string) {
	w.Helper()
	w.eventually("reverting drift", func() error {
		objects := w.objects(namespace)
		for key, server := range objects {
			if server.GetKind() != v1alpha1.Kind {
				continue
			}
			if err := errors.Join(checkConflicts(server), checkSpec(server, objects)); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	})
}

// checkConflicts returns an error with the conflict that a server reports.
func checkConflicts(server *unstructured.Unstructured) error {
	conditions, _, _ := unstructured.NestedSlice(server.Object, "status", "conditions")
	for _, condition := range conditions {
		if is, _ := condition.(map[string]any); is["reason"] == v1alpha1.ReasonContested {
			return fmt.Errorf("%v", is["message"])
		}
	}
	return nil
}

// checkSpec returns an error if an object of a server is missing or still has drift.
func checkSpec(server *unstructured.Unstructured, objects map[string]*unstructured.Unstructured) error {
	for _, kind := range []string{"StatefulSet", "Service", "Ingress"} {
		if objects[kind+" "+server.GetName()] == nil {
			return fmt.Errorf("no %s", kind)
		}
	}
	suspend, _, _ := unstructured.NestedBool(server.Object, "spec", "suspend")
	replicas, _, _ := unstructured.NestedInt64(objects["StatefulSet "+server.GetName()].Object, "spec", "replicas")
	if suspend != (replicas == 0) || replicas > 1 {
		return fmt.Errorf("suspend is %t, but the StatefulSet has %d replicas", suspend, replicas)
	}
	want, _, _ := unstructured.NestedString(server.Object, "spec", "routing", "host")
	rules, _, _ := unstructured.NestedSlice(objects["Ingress "+server.GetName()].Object, "spec", "rules")
	for _, rule := range rules {
		if is, _ := rule.(map[string]any); is["host"] == want {
			return nil
		}
	}
	return fmt.Errorf("the Ingress has the rules %v, want the host %s", rules, want)
}

// unreachable reports whether an error is that of an API server that is down or starting.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	return err != nil && !errors.As(err, &status) || net.IsConnectionRefused(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsTimeout(err)
}
