// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

func TestPatience(t *testing.T) {
	p := Patience{AtOnce: 3, First: 5 * time.Second, Longest: time.Minute, Calm: time.Hour}
	want := []time.Duration{0, 0, 0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}
	for repairs, wait := range want {
		if got := p.wait(repairs); got != wait {
			t.Errorf("after %d repairs the next waits %s, want %s", repairs, got, wait)
		}
	}
	if got := p.wait(1_000_000); got != time.Minute {
		t.Errorf("after a million repairs the next waits %s", got)
	}
}

// duel is a server whose Service somebody else changes. Nothing is sent: what Observe found is given, and a repair is noted.
type duel struct {
	*testing.T
	engine *Engine
	clock  *clocktesting.FakePassiveClock
	server *v1alpha1.JupyterServer
}

func newDuel(t *testing.T) *duel {
	clk := clocktesting.NewFakePassiveClock(time.Now())
	server := &v1alpha1.JupyterServer{}
	server.Namespace, server.Name, server.UID = "lab", "alice", "1"
	engine := &Engine{
		Patience: Patience{AtOnce: 2, First: 10 * time.Second, Longest: 30 * time.Second, Calm: time.Minute},
		Metrics:  NewMetrics(), clock: clk, contests: newContests(),
	}
	return &duel{t, engine, clk, server}
}

// look is what is left of an observation in which objects of these kinds differ, and what is contested.
func (d *duel) look(hash string, kinds ...string) (apply, contested []string) {
	obs := d.observe(hash, kinds...)
	for _, change := range obs.Apply {
		apply = append(apply, change.Object.GetKind())
	}
	for _, contest := range obs.Contested {
		contested = append(contested, contest.key.kind)
	}
	return apply, contested
}

func (d *duel) observe(hash string, kinds ...string) Observation {
	var obs Observation
	for _, kind := range kinds {
		object := &unstructured.Unstructured{}
		object.SetKind(kind)
		object.SetName("alice")
		obs.Apply = append(obs.Apply, Change{Object: object, hash: hash})
	}
	d.engine.holdBack(d.server, &obs)
	return obs
}

// expect looks, and repairs what is to be repaired.
func (d *duel) expect(reason, hash string, wrong, apply, contested []string) {
	d.Helper()
	gotApply, gotContested := d.look(hash, wrong...)
	if !slices.Equal(gotApply, apply) || !slices.Equal(gotContested, contested) {
		d.Errorf("%s: puts back %v, tells of %v; want %v and %v", reason, gotApply, gotContested, apply, contested)
	}
	for _, kind := range gotApply {
		d.engine.repaired(d.server, Drifted, objectKey{kind, "alice"}, hash)
	}
}

func (d *duel) pass(t time.Duration) { d.clock.SetTime(d.clock.Now().Add(t)) }

func TestFight(t *testing.T) {
	d := newDuel(t)
	service, both, none := []string{"Service"}, []string{"Service", "Ingress"}, []string(nil)
	d.expect("the first change", "a", service, service, none)
	d.expect("the second change", "a", service, service, none)
	d.expect("the third one waits, and another object does not", "a", both, []string{"Ingress"}, service)
	d.expect("it is told of while it is in order", "a", none, none, service)
	d.pass(9 * time.Second)
	d.expect("it still waits", "a", service, none, service)
	d.pass(time.Second)
	d.expect("its time has come", "a", service, service, service)
	d.pass(19 * time.Second)
	d.expect("the next wait is longer", "a", service, none, service)
	d.expect("other content is not held", "b", service, service, none)
	d.expect("and has a first change again", "b", service, service, none)
	d.expect("and then waits", "b", service, none, service)
	d.pass(10 * time.Second)
	d.expect("in order when the time has come: it is over", "b", none, none, none)
	d.expect("a change that comes later does not wait", "b", service, service, none)
	d.expect("but the next does", "b", service, none, service)
	d.pass(20 * time.Second)
	d.expect("in order", "b", none, none, none)
	d.pass(40 * time.Second)
	d.expect("calm for long: all is forgotten", "b", none, none, none)
	d.expect("the first change", "b", service, service, none)
	d.expect("the second change", "b", service, service, none)
	d.expect("the third one waits", "b", service, none, service)
}

func TestWhatCountsAsRepair(t *testing.T) {
	d := newDuel(t)
	key := objectKey{"Service", "alice"}
	for range 5 {
		d.engine.repaired(d.server, OutOfSync, key, "a")
	}
	d.expect("upgrades are no repairs", "a", []string{"Service"}, []string{"Service"}, nil)
	d.engine.repaired(d.server, OutOfSync, key, "a") // the upgrade of another object found this one changed
	d.expect("an upgrade that puts back what was put back is one", "a", []string{"Service"}, nil, []string{"Service"})
}

func TestFightIsForgottenWithItsServer(t *testing.T) {
	service := []string{"Service"}
	tests := []struct {
		reason string
		forget func(*duel)
	}{
		{"the server is gone", func(d *duel) { d.engine.contests.forget(client.ObjectKeyFromObject(d.server), d.engine.Metrics) }},
		{"another server has its name", func(d *duel) { d.server.UID = "2" }},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			d := newDuel(t)
			d.expect("the first change", "a", service, service, nil)
			d.expect("the second change", "a", service, service, nil)
			d.expect("the third one waits", "a", service, nil, service)
			test.forget(d)
			d.expect("of the new server the first change", "a", service, service, nil)
			if n := testutil.ToFloat64(d.engine.Metrics.contests); n != 0 {
				t.Errorf("%v objects count as contested", n)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	d := newDuel(t)
	service := []string{"Service"}
	for range 3 {
		d.expect("a fight", "a", service, service, nil)
		d.pass(30 * time.Second)
	}
	d.expect("a change", "a", service, service, nil)
	d.expect("that waits", "a", service, nil, service)
	d.expect("that waits", "a", service, nil, service)
	if repairs, contests := testutil.ToFloat64(d.engine.Metrics.repairs), testutil.ToFloat64(d.engine.Metrics.contests); repairs != 4 || contests != 1 {
		t.Errorf("counted %v repairs and %v contested objects, want 4 and 1", repairs, contests)
	}
	d.pass(30 * time.Second)
	d.expect("in order", "a", nil, nil, nil)
	if contests := testutil.ToFloat64(d.engine.Metrics.contests); contests != 0 {
		t.Errorf("%v objects count as contested, want 0", contests)
	}
}

func TestRival(t *testing.T) {
	desired := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": "alice", "labels": map[string]any{"a": "1"}},
		"spec":     map[string]any{"ports": []any{map[string]any{"port": int64(80), "protocol": "TCP", "targetPort": "http"}}},
	}}
	ours := func(metadata, port string) metav1.ManagedFieldsEntry {
		return managedBy(FieldManager, metav1.ManagedFieldsOperationApply,
			`{`+metadata+`"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}`+port+`}}}}`)
	}
	const label = `"f:metadata":{"f:labels":{"f:a":{}}},`
	theirs := func(fields string) metav1.ManagedFieldsEntry {
		return managedBy("rival", metav1.ManagedFieldsOperationUpdate, fields)
	}
	tests := []struct {
		reason   string
		managed  []metav1.ManagedFieldsEntry
		managers []string
		fields   []string
		within   bool
	}{
		{
			reason: "a field of a list item was taken over, and another field is nothing to us",
			managed: []metav1.ManagedFieldsEntry{
				ours(label, ""),
				theirs(`{"f:metadata":{"f:labels":{"f:other":{}}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:targetPort":{}}}}}`),
			},
			managers: []string{"rival"}, fields: []string{`spec.ports[port=80,protocol="TCP"].targetPort`},
		},
		{
			reason:   "a label was taken over by apply",
			managed:  []metav1.ManagedFieldsEntry{ours("", `,"f:targetPort":{}`), managedBy("gitops", metav1.ManagedFieldsOperationApply, `{"f:metadata":{"f:labels":{"f:a":{}}}}`)},
			managers: []string{"gitops"}, fields: []string{"metadata.labels.a"},
		},
		{
			reason:  "a label was removed, and somebody is there who did not",
			managed: []metav1.ManagedFieldsEntry{ours("", `,"f:targetPort":{}`), theirs(`{"f:status":{"f:loadBalancer":{}}}`)},
		},
		{
			reason:  "everything is ours",
			managed: []metav1.ManagedFieldsEntry{ours(label, `,"f:targetPort":{}`), theirs(`{"f:metadata":{"f:labels":{"f:a":{}}}}`)},
			within:  true,
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			rival := rivalOf(desired, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ManagedFields: test.managed}})
			if !slices.Equal(rival.Managers, test.managers) || !slices.Equal(rival.Fields, test.fields) || rival.Within != test.within || rival.Deletes {
				t.Errorf("got %+v", *rival)
			}
		})
	}
}

func managedBy(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	entry := metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{}}
	entry.FieldsV1.SetRawBytes([]byte(fields))
	return entry
}

// Who makes a server the owner of a claim again and again, which it is to retain, is not fought at full speed.
func TestFightOverTheOwnerOfAClaim(t *testing.T) {
	d := newDuel(t)
	claim := metadataOf(corev1.SchemeGroupVersion.WithKind(claimKind))
	claim.Name = "alice"
	letGo := func() (wanted, contested bool) {
		obs := Observation{LetGo: claim}
		d.engine.holdBack(d.server, &obs)
		return obs.LetGo != nil, len(obs.Contested) == 1
	}
	for range 2 {
		if wanted, _ := letGo(); !wanted {
			t.Fatal("the first are not let go at once")
		}
		d.engine.repaired(d.server, Drifted, keyOf(claim), "")
	}
	if wanted, contested := letGo(); wanted || !contested {
		t.Errorf("wanted %t, contested %t", wanted, contested)
	}
	d.clock.SetTime(d.clock.Now().Add(10 * time.Second))
	if wanted, _ := letGo(); !wanted {
		t.Error("it is not let go when its time has come")
	}
}
