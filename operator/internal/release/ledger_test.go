// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// Somebody who changes an object again and again must not keep the records from being looked at.
func TestReviewIsNotPutOffForEver(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(time.Now())
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "alice", UID: "1"}}
	engine := &Engine{clock: clk, written: newLedger()}
	began := clk.Now()
	for engine.untilReview(server) >= 0 {
		if clk.Since(began) > latestReview {
			t.Fatal("the records were not looked at in time")
		}
		engine.written.wantReview(server, clk.Now())
		clk.SetTime(clk.Now().Add(reviewAfter / 2))
	}
	engine.written.setReviewed(server, clk.Now().Add(-reviewAfter))
	if left := engine.untilReview(server); left <= 0 || left > reviewAfter {
		t.Errorf("the last repair, which Helm may still be about, is looked at after %s", left)
	}
	clk.SetTime(clk.Now().Add(reviewAfter))
	engine.written.setReviewed(server, clk.Now().Add(-reviewAfter))
	if left := engine.untilReview(server); left != 0 {
		t.Errorf("nothing happened since, and the records are looked at after %s", left)
	}
}

// Informers show an object for a moment after it was deleted.
func TestPrunedObjectIsGone(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(time.Now())
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "alice", UID: "1"}}
	engine := &Engine{clock: clk, written: newLedger()}
	service := metadataOf(corev1.SchemeGroupVersion.WithKind("Service"))
	service.Name, service.UID, service.OwnerReferences = "alice", "old", []metav1.OwnerReference{OwnerReference(server)}
	service.Labels = map[string]string{appliedAnnotation: "hash"}
	prunable := func() int {
		child := observed(service, service.GroupVersionKind())
		return len(engine.prunable(server, map[objectKey]*ownedObject{keyOf(service): child}))
	}
	tests := []struct {
		reason string
		step   func()
		want   int
	}{
		{"it is there", func() {}, 1},
		{"it was deleted", func() {
			engine.written.setObject(server, keyOf(service), writing{uid: "old", pruned: true, at: clk.Now()})
		}, 0},
		{"it has been shown for too long", func() { clk.SetTime(clk.Now().Add(settleTime)) }, 1},
		{"another one was made", func() {
			engine.written.setObject(server, keyOf(service), writing{uid: "old", pruned: true, at: clk.Now()})
			service.UID = "new"
		}, 1},
	}
	for _, test := range tests {
		if test.step(); prunable() != test.want {
			t.Errorf("%s: %d to prune, want %d", test.reason, prunable(), test.want)
		}
	}
}
