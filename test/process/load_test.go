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

// edits are what people do to their servers.
var edits = []string{
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

// moreEdits are for the first servers only: they add objects to a release and remove them again, and change what is in its Secret.
var moreEdits = []string{
	`{"spec":{"auth":{"mode":"oidc","oidc":{"issuerUrl":"https://id.example.org","clientId":"jupyter","allow":{"users":["alice"]}}}}}`,
	`{"spec":{"auth":null}}`,
}

// switching is how many servers get moreEdits.
const switching = 8

// drifts are what people do to objects that are not theirs.
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

// load has people at work on the servers of the first namespace until it is stopped: several at a time, and of ten things that they
// do seven are to their servers.
func (w *world) load(servers []string) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	var people sync.WaitGroup
	chance := random(w.T)
	for range 4 {
		own := rand.New(rand.NewPCG(chance.Uint64(), chance.Uint64()))
		people.Go(func() {
			for done := 0; ctx.Err() == nil; done++ {
				if err := w.doSomething(w.ctx, own, servers); err != nil {
					w.Errorf("a person: %v", err)
					return
				}
				pause(ctx, 20+own.IntN(60))
			}
		})
	}
	return func() { cancel(); people.Wait() }
}

func (w *world) doSomething(ctx context.Context, chance *rand.Rand, servers []string) error {
	server := chance.IntN(len(servers))
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: servers[server]}
	var what string
	var err error
	if chance.IntN(10) < 7 {
		what = edits[chance.IntN(len(edits))]
		if server < switching && chance.IntN(2) == 0 {
			what = moreEdits[chance.IntN(len(moreEdits))]
		}
		err = merge(ctx, &v1alpha1.JupyterServer{ObjectMeta: meta}, what)
	} else {
		drift := chance.IntN(len(drifts))
		what, err = fmt.Sprintf("drift %d", drift), drifts[drift](ctx, meta)
	}
	if apierrors.IsNotFound(err) || unreachable(err) {
		return nil // not there yet, or just gone
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", what, meta.Name, err)
	}
	return nil
}

// undone waits until all drifts of a namespace are put right. That takes a while after a fight: what somebody changes again and again
// is put back later and later, and its server says so for as long.
func (w *world) undone(namespace string) {
	w.Helper()
	w.eventually("undoing what people did", func() error {
		objects := w.objects(namespace)
		for key, server := range objects {
			if server.GetKind() != v1alpha1.Kind {
				continue
			}
			if err := errors.Join(fights(server), asSpecified(server, objects)); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	})
}

// fights says what a server waits to put back.
func fights(server *unstructured.Unstructured) error {
	conditions, _, _ := unstructured.NestedSlice(server.Object, "status", "conditions")
	for _, condition := range conditions {
		if is, _ := condition.(map[string]any); is["reason"] == v1alpha1.ReasonContested {
			return fmt.Errorf("%v", is["message"])
		}
	}
	return nil
}

// asSpecified says what of a server is missing, or is as one of the drifts leaves it.
func asSpecified(server *unstructured.Unstructured, objects map[string]*unstructured.Unstructured) error {
	for _, kind := range []string{"StatefulSet", "Service", "Ingress"} {
		if objects[kind+" "+server.GetName()] == nil {
			return fmt.Errorf("there is no %s", kind)
		}
	}
	suspend, _, _ := unstructured.NestedBool(server.Object, "spec", "suspend")
	replicas, _, _ := unstructured.NestedInt64(objects["StatefulSet "+server.GetName()].Object, "spec", "replicas")
	if suspend != (replicas == 0) || replicas > 1 {
		return fmt.Errorf("suspend is %t, and the StatefulSet has %d replicas", suspend, replicas)
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

// unreachable is what a person sees of an API server that is down, or comes up.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	return err != nil && !errors.As(err, &status) || net.IsConnectionRefused(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsTimeout(err)
}
