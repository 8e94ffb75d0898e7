// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// foreign is the owner of the objects of another project's JupyterServer with the same name.
var foreign = []metav1.OwnerReference{{APIVersion: "hub.example.org/v1", Kind: v1alpha1.Kind, Name: "alice", UID: "another", Controller: new(true)}}

// Other projects have a kind JupyterServer as well.
func TestServersOfOtherProjectsAreForeign(t *testing.T) {
	t.Run("their claims can be used", func(t *testing.T) {
		w := newWorld(t)
		w.create(w.claim("files", foreign))
		server := w.server("alice")
		server.Spec.Storage.ExistingClaim = "files"
		w.create(server)
		w.released("alice")
	})
	t.Run("their Secret is a conflict, not one that is about to be deleted", func(t *testing.T) {
		w := newWorld(t)
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "alice-jupyter", Namespace: w.namespace, OwnerReferences: foreign}})
		w.create(w.server("alice"))
		w.stalled("alice", v1alpha1.ReasonNameConflict)
	})
}

func (w *world) claim(name string, owners []metav1.OwnerReference) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace, OwnerReferences: owners},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity("1Gi")}},
		},
	}
}

// A claim may hold files, so the message does not suggest to delete it.
func TestMessageAboutAForeignClaim(t *testing.T) {
	w := newWorld(t)
	w.create(w.claim("alice", nil))
	w.create(w.server("alice"))
	message := w.stalled("alice", v1alpha1.ReasonNameConflict)
	if strings.Contains(message, "delete") || !strings.Contains(message, "spec.storage.existingClaim") {
		t.Errorf("message %q", message)
	}
}

// A retained claim must not be deleted with the server, even if the server was made its owner again.
func TestRetainedClaimIsOrphanedAgain(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Storage.Retain = true
	w.create(server)
	w.released("alice")
	before := len(w.quiet())
	w.patch("alice", &corev1.PersistentVolumeClaim{}, fmt.Sprintf(`{"metadata":{"ownerReferences":[
		{"apiVersion":"jupyterserver.dev/v1alpha1","kind":"JupyterServer","name":"alice","uid":%q}]}}`, server.UID))
	claim := &corev1.PersistentVolumeClaim{}
	w.eventually("the claim has no owner", func() error {
		claim = &corev1.PersistentVolumeClaim{}
		w.get("alice", claim)
		return expect(len(claim.OwnerReferences), 0)
	})
	patches := 0
	for _, request := range w.quiet()[before:] {
		if strings.HasPrefix(request, "PATCH") && strings.Contains(request, "persistentvolumeclaims") {
			patches++
		}
	}
	if patches != 1 {
		t.Errorf("the claim was orphaned %d times", patches)
	}
}

// A foreign pod with the name of the server's pod blocks the StatefulSet, which Kubernetes does not report.
func TestForeignPodIsReported(t *testing.T) {
	kruise := []metav1.OwnerReference{{APIVersion: "apps.kruise.io/v1beta1", Kind: "StatefulSet", Name: "alice", UID: "kruise", Controller: new(true)}}
	job := []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "backup", UID: "job", Controller: new(true)}}
	tests := []struct {
		reason string
		labels map[string]string
		owners []metav1.OwnerReference
		want   string
	}{
		{"without a controller", nil, nil, "belongs to no controller"},
		{"without a controller, with the operator's label", map[string]string{"jupyterserver.dev/name": "alice"}, nil, "belongs to no controller"},
		{"of another project's StatefulSet with the name", nil, kruise, "the StatefulSet alice"},
		{"of a Job", nil, job, "the Job backup"},
		{"of a Job, with the operator's label", map[string]string{"jupyterserver.dev/name": "alice"}, job, "the Job backup"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "alice-0", Namespace: w.namespace, Labels: test.labels, OwnerReferences: test.owners},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "jupyter", Image: "x"}}},
			}
			w.create(pod)
			w.podStatus(pod, corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}})
			w.create(w.server("alice"))
			w.released("alice")
			w.observe("alice")
			server := w.status("alice", "failed", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateFailed })
			if !strings.Contains(server.Status.Message, test.want) || server.Status.Pod != nil {
				t.Errorf("status %+v", server.Status)
			}
		})
	}
}

// observe acts as the StatefulSet controller: it has observed the newest template and created no pod.
func (w *world) observe(name string) {
	w.Helper()
	w.eventually("the status of the StatefulSet", func() error {
		set := &appsv1.StatefulSet{}
		w.get(name, set)
		set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, CurrentRevision: name + "-1", UpdateRevision: name + "-2"}
		return suite.client.Status().Update(w.ctx, set)
	})
}

// The pod of a foreign StatefulSet that replaced the server's is not deleted, even if it looks stuck.
func TestPodOfAForeignStatefulSetIsKept(t *testing.T) {
	w := newWorld(t)
	pod := w.oldPod("alice", corev1.PodStatus{})
	w.status("alice", "its pod is shown", func(s v1alpha1.JupyterServerStatus) bool { return s.Pod != nil })
	set := &appsv1.StatefulSet{}
	w.get("alice", set)
	w.eventually("the StatefulSet is foreign", func() error {
		w.get("alice", set)
		set.OwnerReferences = foreign
		set.Annotations = nil
		set.ManagedFields = []metav1.ManagedFieldsEntry{{}}
		return suite.client.Update(w.ctx, set)
	})
	w.eventually("the missing pod is reported", func() error {
		if message := w.stalled("alice", v1alpha1.ReasonNameConflict); !strings.HasSuffix(message, "Until then the server has no pod.") {
			return errors.New(message)
		}
		return nil
	})
	w.status("alice", "the foreign pod is not shown", func(s v1alpha1.JupyterServerStatus) bool { return s.Pod == nil })
	w.quiet()
	if !w.exists(pod) {
		t.Error("the foreign pod was deleted")
	}
}

// unreadable adds a value to a spec that the schema accepts but that cannot be decoded.
const unreadable = `{"op":"add","path":"/spec/pod","value":{"containers":[{"name":"x","image":"x","resources":{"limits":{"memory":"1e1.5"}}}]}}`

// spec.suspend stops the pod even if the rest of the spec is blocked.
func TestSuspendStopsABlockedServer(t *testing.T) {
	tests := []struct {
		reason, blocked string
		edit            func(*v1alpha1.JupyterServer) // nil adds an unreadable value
	}{
		{"a Secret is missing", v1alpha1.ReasonReferenceNotFound, func(s *v1alpha1.JupyterServer) {
			s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
		}},
		{"the spec cannot be rendered", v1alpha1.ReasonRenderFailed, func(s *v1alpha1.JupyterServer) {
			s.Spec.Patches = []v1alpha1.Patch{{Target: v1alpha1.PatchTarget{Kind: "Deployment"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"spec":{"replicas":1}}`}}
		}},
		{"the spec cannot be decoded", v1alpha1.ReasonSpecUnreadable, nil},
		{"the API server rejects an object", v1alpha1.ReasonApplyRefused, func(s *v1alpha1.JupyterServer) {
			s.Spec.Storage.Size = "2Gi" // no storage class allows a claim to grow
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			if test.edit == nil {
				w.patchJSON("alice", &v1alpha1.JupyterServer{}, "["+unreadable+`,{"op":"add","path":"/spec/suspend","value":true}]`)
			} else {
				w.change("alice", func(s *v1alpha1.JupyterServer) {
					s.Spec.Suspend = true
					test.edit(s)
				})
			}
			w.eventually("the pod is stopped", func() error {
				set := &appsv1.StatefulSet{}
				w.get("alice", set)
				return expect(*set.Spec.Replicas, 0)
			})
			w.eventually("both are reported", func() error {
				server := w.stalledServer("alice", test.blocked)
				if server.Status.State != v1alpha1.StateSuspended || !strings.HasSuffix(server.Status.Message, "The server is stopped (spec.suspend); its files are kept.") {
					return fmt.Errorf("%s: %s", server.Status.State, server.Status.Message)
				}
				return nil
			})
			w.patchJSON("alice", &v1alpha1.JupyterServer{}, `[{"op":"add","path":"/spec/suspend","value":false}]`)
			w.eventually("it is reported that the server stays stopped", func() error {
				if message := w.stalled("alice", test.blocked); !strings.HasSuffix(message, "stays stopped.") {
					return errors.New(message)
				}
				return nil
			})
		})
	}
}

// A blocked server keeps its current route, so the one in its spec is free for others.
func TestBlockedServerReservesNoRoute(t *testing.T) {
	for reason, blocked := range map[string]string{"the younger one is blocked": "younger", "the older one is blocked": "older"} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"older", "younger"} {
				w.create(w.server(name))
				w.released(name)
			}
			other := map[string]string{"older": "younger", "younger": "older"}[blocked]
			w.change(blocked, func(s *v1alpha1.JupyterServer) {
				s.Spec.Routing.Path = "/wanted"
				s.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "missing", Key: "token"}}
			})
			w.stalled(blocked, v1alpha1.ReasonReferenceNotFound)
			w.change(other, func(s *v1alpha1.JupyterServer) { s.Spec.Routing.Path = "/wanted" })
			w.released(other)
		})
	}
}

// A blocked spec does not decide that files are deleted with the server.
func TestBlockedSpecDoesNotAdoptARetainedClaim(t *testing.T) {
	tests := []struct {
		reason, blocked string
		block           func(w *world)
	}{
		{"the spec cannot be decoded", v1alpha1.ReasonSpecUnreadable, func(w *world) {
			w.patchJSON("alice", &v1alpha1.JupyterServer{}, "["+unreadable+"]")
		}},
		{"the spec is rejected", "SuiteImage", func(w *world) {
			w.label(map[string]string{forbidden: "evil"})
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image, s.Spec.Storage.Retain = "evil", false })
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			server := w.server("alice")
			server.Spec.Storage.Retain = true
			w.create(server)
			w.released("alice")
			test.block(w)
			w.stalled("alice", test.blocked)
			w.remove("alice", &corev1.Service{})
			w.eventually("the Service is restored", func() error { return w.tryGet("alice", &corev1.Service{}) })
			w.quiet()
			claim := &corev1.PersistentVolumeClaim{}
			if w.get("alice", claim); len(claim.OwnerReferences) > 0 {
				t.Error("the claim would be deleted with the server")
			}
		})
	}
}
