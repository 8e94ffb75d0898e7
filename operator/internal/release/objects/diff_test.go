// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
)

// Informers show an object for a moment after it was deleted.
func TestPrunedObjectIsGone(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(time.Now())
	ref, memo, c := Ref{Namespace: "lab", Name: "alice", UID: "1"}, &Memo{}, &Client{clock: clk}
	service := metadataOf(corev1.SchemeGroupVersion.WithKind("Service"))
	service.Name, service.UID, service.OwnerReferences = "alice", "old", []metav1.OwnerReference{ref.Owner()}
	service.Labels = map[string]string{appliedAnnotation: "hash"}
	prunable := func() int {
		found := map[Key]*live{KeyOf(service): liveOf(service, service.GroupVersionKind())}
		c.overlay(memo, found)
		return len(prunable(ref, found))
	}
	deleted := func() write {
		return write{live: &live{object: service, uid: "old"}, pruned: true, at: clk.Now()}
	}
	steps := []struct {
		reason string
		step   func()
		want   int
	}{
		{"it exists", func() {}, 1},
		{"it was deleted", func() { memo.expect(deleted()) }, 0},
		{"it has been shown for too long", func() { clk.SetTime(clk.Now().Add(SettleTime)) }, 1},
		{"it was created again", func() {
			memo.expect(deleted())
			service.UID = "new"
		}, 1},
	}
	for _, step := range steps {
		if step.step(); prunable() != step.want {
			t.Errorf("%s: %d to prune, want %d", step.reason, prunable(), step.want)
		}
	}
}

func TestRejected(t *testing.T) {
	tests := []struct {
		reason string
		err    error
		want   bool
	}{
		{"an invalid object", apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "alice", nil), true},
		{"a bad request", apierrors.NewBadRequest("no"), true},
		{"admission forbids it", apierrors.NewForbidden(schema.GroupResource{}, "alice", errors.New("no")), true},
		{"a field that does not exist", apierrors.NewInternalError(errors.New("failed to create typed patch object (lab/alice): .spec.x: field not declared in schema")), true},
		{"the API server is broken", apierrors.NewInternalError(errors.New("etcd is down")), false},
		{"a text alone proves nothing", errors.New("failed to create typed patch object"), false},
		{"the API server is busy", apierrors.NewTooManyRequests("later", 1), false},
	}
	for _, test := range tests {
		if got := (&ApplyError{Object: "Service alice", Err: test.err}).Rejected(); got != test.want {
			t.Errorf("%s: %t, want %t", test.reason, got, test.want)
		}
	}
}

// A stopped server has no pod, whatever its revision asks for.
func TestPayloadOfAStoppedServer(t *testing.T) {
	set := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": map[string]any{"replicas": int64(1)}}}
	hashes := map[bool]string{}
	for stop, want := range map[bool]int64{false: 1, true: 0} {
		payload, hash, err := payloadOf(Ref{Namespace: "lab", Name: "alice", UID: "1", Stop: stop}, set)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := unstructured.NestedInt64(payload.Object, "spec", "replicas"); got != want {
			t.Errorf("stop %t: %d replicas, want %d", stop, got, want)
		}
		hashes[stop] = hash
	}
	if hashes[true] == hashes[false] {
		t.Error("the digest does not tell a stopped server from a running one")
	}
}
