// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestEditedImageIsRolledOutAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before, _ := w.server("alice")
	token := w.token("alice")

	w.apply("alice", `jupyterServer: {image: "localhost/nope:1"}`)
	broken := w.failed("alice", "localhost/nope:1")
	if broken.Status.Release.Revision != before.Status.Release.Revision+1 {
		t.Errorf("the release revision changed from %d to %d", before.Status.Release.Revision, broken.Status.Release.Revision)
	}
	w.apply("alice")
	after := w.running("alice")
	w.checkFile(after, token)

	var history []struct {
		Revision int
		Status   string
	}
	if err := json.Unmarshal([]byte(w.helm("history", "alice", "-o", "json")), &history); err != nil {
		t.Fatal(err)
	}
	if len(history) != 3 || history[2].Revision != after.Status.Release.Revision || history[2].Status != "deployed" || history[1].Status != "superseded" {
		t.Errorf("helm history returns %+v, want three revisions with the last one deployed", history)
	}
}

func TestUnchangedSpecChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before, _ := w.server("alice")
	pod := w.podUID("alice-0")
	w.kubectl("annotate", "jupyterserver", "alice", "example.org/note=hello")
	w.apply("alice")
	w.kubectl("label", "service", "alice", "example.org/note=hello") // triggers the operator
	after := w.await("alice", "is seen", soon, isRunning)
	if after.Status.Release.Revision != before.Status.Release.Revision || w.podUID("alice-0") != pod {
		t.Errorf("an unchanged spec created revision %d after %d, or replaced the pod", after.Status.Release.Revision, before.Status.Release.Revision)
	}
}

// Edited or deleted objects of a server are restored immediately, without loss of the token or files.
func TestDriftIsReverted(t *testing.T) {
	t.Parallel()
	edits := []struct {
		reason string
		edit   []string // arguments of kubectl
		look   []string // arguments of kubectl, whose output must be as before
	}{
		{
			reason: "the port of the Service",
			edit:   []string{"patch", "service", "alice", "--type=json", `-p=[{"op":"replace","path":"/spec/ports/0/targetPort","value":22}]`},
			look:   []string{"get", "service", "alice", "-o", "jsonpath={.spec.ports}"},
		},
		{
			reason: "the selector of the Service",
			edit:   []string{"patch", "service", "alice", "--type=merge", `-p={"spec":{"selector":{"jupyterserver.dev/name":"bob"}}}`},
			look:   []string{"get", "service", "alice", "-o", "jsonpath={.spec.selector}"},
		},
		{
			reason: "the host of the Ingress",
			edit:   []string{"patch", "ingress", "alice", "--type=json", `-p=[{"op":"replace","path":"/spec/rules/0/host","value":"evil.localhost"}]`},
			look:   []string{"get", "ingress", "alice", "-o", "jsonpath={.spec.rules}"},
		},
		{
			reason: "the rules of the NetworkPolicy",
			edit:   []string{"patch", "networkpolicy", "alice", "--type=json", `-p=[{"op":"replace","path":"/spec/ingress","value":[{}]}]`},
			look:   []string{"get", "networkpolicy", "alice", "-o", "jsonpath={.spec}"},
		},
		{
			reason: "the image of the StatefulSet",
			edit:   []string{"set", "image", "statefulset/alice", "jupyter=localhost/nope:1"},
			look:   []string{"get", "statefulset", "alice", "-o", "jsonpath={.spec.template.spec.containers[*].image}"},
		},
		{
			reason: "the replicas of the StatefulSet",
			edit:   []string{"scale", "statefulset/alice", "--replicas=0"},
			look:   []string{"get", "statefulset", "alice", "-o", "jsonpath={.spec.replicas}"},
		},
		{
			reason: "the Service itself",
			edit:   []string{"delete", "service", "alice"},
			look:   []string{"get", "service", "alice", "-o", "jsonpath={.spec.ports}"},
		},
		{
			reason: "the Ingress itself",
			edit:   []string{"delete", "ingress", "alice"},
			look:   []string{"get", "ingress", "alice", "-o", "jsonpath={.spec.rules}"},
		},
		{
			reason: "the NetworkPolicy itself",
			edit:   []string{"delete", "networkpolicy", "alice"},
			look:   []string{"get", "networkpolicy", "alice", "-o", "jsonpath={.spec}"},
		},
		{
			reason: "the StatefulSet itself",
			edit:   []string{"delete", "statefulset", "alice"},
			look:   []string{"get", "statefulset", "alice", "-o", "jsonpath={.spec.template.spec.containers[*].image}"},
		},
	}
	w := newWorld(t)
	before, _ := w.server("alice")
	token := w.token("alice")
	for _, e := range edits {
		want := w.kubectl(e.look...)
		w.kubectl(e.edit...)
		begun := time.Now()
		w.eventually(e.reason+" is restored", soon, func() error {
			got, err := w.tryRun(w.ctx, "", "kubectl", e.look...)
			if err == nil && got != want {
				err = errors.New("got " + got + ", want " + want)
			}
			return err
		})
		t.Logf("%s was restored after %s", e.reason, time.Since(begun).Round(time.Millisecond))
	}
	after := w.running("alice")
	if after.Status.Release.Revision != before.Status.Release.Revision {
		t.Errorf("reverting drift created revision %d after %d", after.Status.Release.Revision, before.Status.Release.Revision)
	}
	w.checkFile(after, token)
}
