// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// dies is the fault of an operator that is killed.
var dies = faults[len(faults)-1]

// TestSpecChangesWhileTheOperatorIsDown kills an operator after each write of an upgrade of a server that has the maximum of records.
// The next operator finds another spec than the one that was being released.
func TestSpecChangesWhileTheOperatorIsDown(t *testing.T) {
	traffic := newTraffic()
	running := start(t, traffic.over)
	var namespaces []string
	for range 8 { // the record, the StatefulSet, the record again, the one before, the oldest, the status; and some more
		namespaces = append(namespaces, newNamespace(t))
	}
	each(t, namespaces, func(namespace string) error { return create(suspended(tokenServer))(t.Context(), namespace) })
	for i := range 5 {
		allSane(t, traffic, namespaces, imageOf(i))
		if i == 4 {
			for n, namespace := range namespaces {
				traffic.arm(namespace, dies, n+1)
			}
		}
		each(t, namespaces, func(namespace string) error { return change(image(imageOf(i+1)))(t.Context(), namespace) })
	}
	eventually(t, "the operator is killed or done", func() error {
		errs := []error{traffic.calm()}
		for _, namespace := range namespaces {
			if !traffic.struck(namespace) {
				errs = append(errs, sane(t.Context(), namespace, imageOf(5)))
			}
		}
		return errors.Join(errs...)
	})
	if !traffic.struck(namespaces[4]) {
		t.Errorf("an upgrade took fewer than five writes: %v", traffic.writesOf(namespaces[4]))
	}
	each(t, namespaces, func(namespace string) error { return change(image("example.org/image:last"))(t.Context(), namespace) })
	running.stop()
	traffic.disarm()
	start(t, traffic.over)
	allSane(t, traffic, namespaces, "example.org/image:last")
}

// TestServerIsReplacedDuringItsInstall deletes a server before each write of its install, and creates another one with the same name
// at once. Nothing of the first may be left, and the second must be as if it had been the only one.
func TestServerIsReplacedDuringItsInstall(t *testing.T) {
	traffic := newTraffic()
	start(t, traffic.over)
	life := life{"install", []step{{name: "install", do: create(oidcServer)}}}
	course := undisturbed(t, traffic, life)
	var subjects []*subject
	for n := range course.writes[0] {
		subjects = append(subjects, &subject{life: life, course: course, namespace: newNamespace(t), n: n + 1})
	}
	owners := make(chan types.UID, len(subjects))
	for _, s := range subjects {
		s.fault = fault{name: "is sent after the server was replaced", strike: func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
			uid, err := replace(t.Context(), s.namespace)
			if err != nil {
				return nil, err
			}
			owners <- uid
			return next.RoundTrip(r)
		}}
		traffic.arm(s.namespace, s.fault, s.n)
	}
	each(t, subjects, func(s *subject) error { return life.steps[0].do(t.Context(), s.namespace) })
	gone := map[types.UID]bool{}
	for range subjects {
		gone[<-owners] = true
	}
	// The garbage collector acts some time later, and repeatedly.
	eventually(t, "collecting garbage", func() error {
		err := traffic.calm()
		for uid := range gone {
			for _, s := range subjects {
				err = errors.Join(err, collectObjects(t.Context(), s.namespace, uid))
			}
		}
		return err
	})
	converge(t, traffic, 0, subjects)
}

// replace deletes a server and creates another one with the same name. It returns the UID of the first.
func replace(ctx context.Context, namespace string) (types.UID, error) {
	server := &v1alpha1.JupyterServer{}
	if err := suite.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: serverName}, server); err != nil {
		return "", err
	}
	if err := suite.client.Delete(ctx, server); err != nil {
		return "", fmt.Errorf("deleting the server: %w", err)
	}
	return server.UID, create(oidcServer)(ctx, namespace)
}
