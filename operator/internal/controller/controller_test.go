// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/records"
)

// manifest returns a server as a user would write it.
func (w *world) manifest(server *v1alpha1.JupyterServer) *unstructured.Unstructured {
	w.Helper()
	o, err := apiservertest.Manifest(server)
	if err != nil {
		w.Fatal(err)
	}
	return o
}

func TestInstall(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	server := w.released("alice")

	if got, want := server.Status.URL, "http://"+w.namespace+".localhost:8000/alice/"; got != want {
		t.Errorf("url %q, want %q", got, want)
	}
	if server.Status.State != v1alpha1.StateStarting {
		t.Errorf("state %s, want Starting: there is no node", server.Status.State)
	}
	for _, o := range []client.Object{&appsv1.StatefulSet{}, &corev1.Service{}, &corev1.PersistentVolumeClaim{}, &networkingv1.Ingress{}, &networkingv1.NetworkPolicy{}} {
		w.get("alice", o)
		if !metav1.IsControlledBy(o, server) {
			t.Errorf("%T is not owned by the server: %v", o, o.GetOwnerReferences())
		}
	}
	for _, name := range []string{"alice-jupyter", "sh.helm.release.v1.alice.v1"} {
		secret := &corev1.Secret{}
		w.get(name, secret)
		if !metav1.IsControlledBy(secret, server) {
			t.Errorf("Secret %s is not owned by the server: %v", name, secret.OwnerReferences)
		}
	}
}

// 5 objects and the Secret are n = 6, and the budget is n + 4 requests.
func TestInstallStaysWithinItsBudgetOfRequests(t *testing.T) {
	w := newWorld(t)
	w.installsWithin(w.server("alice"), 10)
}

// installsWithin fails if an install takes more requests than its budget, not counting events.
func (w *world) installsWithin(server *v1alpha1.JupyterServer, budget int) {
	w.Helper()
	w.create(server)
	w.released(server.Name)
	requests := slices.DeleteFunc(suite.requests.of(w.namespace), func(r string) bool { return strings.Contains(r, "/events") })
	if len(requests) > budget {
		w.Errorf("%d requests, want %d at most:\n%s", len(requests), budget, strings.Join(requests, "\n"))
	}
}

func TestUnchangedServerMakesNoRequest(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Suspend = true // a server that is starting is reconciled periodically, and no pod starts here
	w.create(server)
	w.released("alice")
	before := w.quiet()
	for i := range 3 { // a change of a child triggers a reconciliation
		w.annotate("alice", &appsv1.StatefulSet{}, fmt.Sprintf("example.org/%d", i))
	}
	if after := w.quiet(); len(after) != len(before) {
		t.Errorf("unnecessary requests: %v", after[len(before):])
	}
}

// annotate changes an object in a way that the operator ignores.
func (w *world) annotate(name string, o client.Object, key string) {
	w.Helper()
	w.get(name, o)
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"x"}}}`, key))
	if err := suite.client.Patch(w.ctx, o, patch); err != nil {
		w.Fatalf("annotating: %v", err)
	}
}

func TestDrift(t *testing.T) {
	tests := []struct {
		reason string
		edit   func(w *world)
		check  func(w *world) error
	}{
		{
			reason: "a deleted Service is restored",
			edit:   func(w *world) { w.remove("alice", &corev1.Service{}) },
			check:  func(w *world) error { return w.tryGet("alice", &corev1.Service{}) },
		},
		{
			reason: "a deleted StatefulSet is restored",
			edit:   func(w *world) { w.remove("alice", &appsv1.StatefulSet{}) },
			check:  func(w *world) error { return w.tryGet("alice", &appsv1.StatefulSet{}) },
		},
		{
			reason: "an edited image is reverted",
			edit: func(w *world) {
				w.patch("alice", &appsv1.StatefulSet{}, `{"spec":{"template":{"spec":{"containers":[{"name":"jupyter","image":"evil"}]}}}}`)
			},
			check: func(w *world) error {
				set := &appsv1.StatefulSet{}
				w.get("alice", set)
				return expect(set.Spec.Template.Spec.Containers[0].Image, "quay.io/jupyter/minimal-notebook:latest")
			},
		},
		{
			reason: "scaling up is reverted: there is one volume for one pod",
			edit:   func(w *world) { w.patch("alice", &appsv1.StatefulSet{}, `{"spec":{"replicas":2}}`) },
			check: func(w *world) error {
				set := &appsv1.StatefulSet{}
				w.get("alice", set)
				return expect(*set.Spec.Replicas, 1)
			},
		},
		{
			reason: "an edited port of the Service is reverted",
			edit: func(w *world) {
				service := &corev1.Service{}
				w.get("alice", service)
				service.Spec.Ports[0].TargetPort = intstr.FromInt32(22)
				if err := suite.client.Update(w.ctx, service); err != nil {
					w.Fatal(err)
				}
			},
			check: func(w *world) error {
				service := &corev1.Service{}
				w.get("alice", service)
				return expect(service.Spec.Ports[0].TargetPort.String(), "http")
			},
		},
		{
			reason: "an edited host of the Ingress is reverted",
			edit: func(w *world) {
				w.patchJSON("alice", &networkingv1.Ingress{}, `[{"op":"replace","path":"/spec/rules/0/host","value":"evil.example.org"}]`)
			},
			check: func(w *world) error {
				ingress := &networkingv1.Ingress{}
				w.get("alice", ingress)
				return expect(ingress.Spec.Rules[0].Host, w.namespace+".localhost")
			},
		},
		{
			reason: "a wider NetworkPolicy is reverted",
			edit: func(w *world) {
				w.patchJSON("alice", &networkingv1.NetworkPolicy{}, `[{"op":"replace","path":"/spec/ingress","value":[{}]}]`)
			},
			check: func(w *world) error {
				policy := &networkingv1.NetworkPolicy{}
				w.get("alice", policy)
				return expect(len(policy.Spec.Ingress[0].Ports), 1)
			},
		},
		{
			reason: "a removed label is restored",
			edit: func(w *world) {
				w.patchJSON("alice", &corev1.Service{}, `[{"op":"remove","path":"/metadata/labels/app.kubernetes.io~1instance"}]`)
			},
			check: func(w *world) error {
				service := &corev1.Service{}
				w.get("alice", service)
				return expect(service.Labels["app.kubernetes.io/instance"], "alice")
			},
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			before := w.released("alice")
			test.edit(w)
			w.eventually(test.reason, func() error { return test.check(w) })
			if after := w.released("alice"); after.Status.Release.Revision != before.Status.Release.Revision {
				t.Errorf("reverting drift created revision %d after %d", after.Status.Release.Revision, before.Status.Release.Revision)
			}
		})
	}
}

// Fields of other managers are kept, and do not flap.
func TestForeignFieldsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.patch("alice", &appsv1.StatefulSet{}, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	w.patch("alice", &corev1.Service{}, `{"metadata":{"annotations":{"example.org/owner":"somebody"}},"spec":{"sessionAffinity":"ClientIP"}}`)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })
	w.released("alice")
	w.quiet()

	set, service := &appsv1.StatefulSet{}, &corev1.Service{}
	w.get("alice", set)
	w.get("alice", service)
	if set.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" {
		t.Errorf("the restart annotation is gone: %v", set.Spec.Template.Annotations)
	}
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP || service.Annotations["example.org/owner"] != "somebody" {
		t.Errorf("the Service lost fields of other managers: %+v", service)
	}
}

// Objects that are deleted with their namespace are not restored, and no error is reported.
func TestServerIsDeletedWithItsNamespace(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	if err := suite.client.Delete(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	w.remove("alice", &corev1.Service{})
	w.eventually("the state is Terminating", func() error {
		server := &v1alpha1.JupyterServer{}
		w.get("alice", server)
		return expect(server.Status.State, v1alpha1.StateTerminating)
	})
}

func TestUpgradeAndPrune(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.JupyterServer.Image = "example.org/other:2"
		s.Spec.Patches = []v1alpha1.Patch{{
			Target: v1alpha1.PatchTarget{Kind: "StatefulSet"}, Type: v1alpha1.PatchTypeMerge,
			Patch: `{"spec":{"minReadySeconds":7}}`,
		}}
	})
	server := w.released("alice")
	if server.Status.Release.Revision != 2 {
		t.Errorf("revision %d, want 2", server.Status.Release.Revision)
	}
	set := &appsv1.StatefulSet{}
	w.get("alice", set)
	if set.Spec.Template.Spec.Containers[0].Image != "example.org/other:2" || set.Spec.MinReadySeconds != 7 {
		t.Errorf("the StatefulSet was not upgraded: %+v", set.Spec)
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Patches = nil })
	w.released("alice")
	w.get("alice", set)
	if set.Spec.MinReadySeconds != 0 {
		t.Errorf("a field that is no longer rendered was kept: minReadySeconds %d", set.Spec.MinReadySeconds)
	}
}

// A claim holds files, so it is not pruned when the spec stops using it.
func TestClaimIsNotPruned(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.Ephemeral = true })
	w.released("alice")
	w.quiet()
	claim := &corev1.PersistentVolumeClaim{}
	w.get("alice", claim)
	if claim.DeletionTimestamp != nil {
		t.Error("the claim is being deleted")
	}
}

func TestRetainedClaimHasNoOwnerAndIsAdoptedAgain(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Storage.Retain = true
	w.create(server)
	w.released("alice")
	claim := &corev1.PersistentVolumeClaim{}
	w.get("alice", claim)
	if len(claim.OwnerReferences) != 0 {
		t.Fatalf("a retained claim would be deleted with its owner: %v", claim.OwnerReferences)
	}
	uid := claim.UID
	w.removeServer("alice")

	w.create(w.server("alice"))
	again := w.released("alice")
	w.get("alice", claim)
	if claim.UID != uid || !metav1.IsControlledBy(claim, again) {
		t.Errorf("claim %s with owners %v, want %s owned by the new server", claim.UID, claim.OwnerReferences, uid)
	}
}

// removeServer deletes a server and, as the garbage collector would, its objects.
func (w *world) removeServer(name string) {
	w.Helper()
	server := &v1alpha1.JupyterServer{}
	w.get(name, server)
	if err := suite.client.Delete(w.ctx, server); err != nil {
		w.Fatal(err)
	}
	for _, list := range []client.ObjectList{&appsv1.StatefulSetList{}, &corev1.ServiceList{}, &networkingv1.IngressList{}, &networkingv1.NetworkPolicyList{}, &corev1.SecretList{}, &corev1.PersistentVolumeClaimList{}} {
		if err := suite.client.List(w.ctx, list, client.InNamespace(w.namespace)); err != nil {
			w.Fatal(err)
		}
		objects, err := runtime.DefaultUnstructuredConverter.ToUnstructured(list)
		if err != nil {
			w.Fatal(err)
		}
		items, _, _ := unstructured.NestedSlice(objects, "items")
		for _, item := range items {
			u := &unstructured.Unstructured{Object: item.(map[string]any)}
			gvk, _ := suite.client.GroupVersionKindFor(list)
			gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
			u.SetGroupVersionKind(gvk)
			if metav1.IsControlledBy(u, server) {
				if err := suite.client.Delete(w.ctx, u); client.IgnoreNotFound(err) != nil {
					w.Fatal(err)
				}
			}
		}
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	token := string(secret.Data["token"])
	if len(token) != 48 {
		t.Fatalf("token of %d characters, want 48", len(token))
	}
	checksum := w.podChecksum("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "example.org/other:2" })
	w.released("alice")
	w.get("alice-jupyter", secret)
	if string(secret.Data["token"]) != token {
		t.Error("an upgrade changed the token")
	}
	if w.podChecksum("alice") != checksum {
		t.Error("an upgrade changed the checksum of an unchanged Secret")
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "inline-secret-of-alice"}
	})
	w.released("alice")
	w.get("alice-jupyter", secret)
	if got := string(secret.Data["token"]); got != "inline-secret-of-alice" {
		t.Errorf("the inline token did not reach the Secret: %q", got)
	}
	if w.podChecksum("alice") == checksum {
		t.Error("a changed token did not change the checksum of the pod")
	}
	w.nowhere("inline-secret-of-alice", token)
}

func (w *world) podChecksum(name string) string {
	w.Helper()
	set := &appsv1.StatefulSet{}
	w.get(name, set)
	return set.Spec.Template.Annotations["jupyterserver.dev/secrets-checksum"]
}

// nowhere fails if an object of the namespace contains a secret, except for Secrets of type Opaque and specs of servers.
func (w *world) nowhere(secrets ...string) {
	w.Helper()
	var texts []string
	for _, list := range []client.ObjectList{&appsv1.StatefulSetList{}, &corev1.ServiceList{}, &networkingv1.IngressList{}, &corev1.ConfigMapList{}, &corev1.EventList{}} {
		if err := suite.client.List(w.ctx, list, client.InNamespace(w.namespace)); err != nil {
			w.Fatal(err)
		}
		raw, err := json.Marshal(list)
		if err != nil {
			w.Fatal(err)
		}
		texts = append(texts, string(raw))
	}
	var servers v1alpha1.JupyterServerList
	if err := suite.client.List(w.ctx, &servers, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	for _, server := range servers.Items {
		raw, _ := json.Marshal(server.Status)
		texts = append(texts, string(raw), w.helm("get", "all", server.Name), w.helm("get", "values", "--all", server.Name))
	}
	for _, secret := range secrets {
		for _, text := range texts {
			if strings.Contains(text, secret) {
				w.Errorf("a secret is in:\n%s", text)
			}
		}
	}
}

func TestTokenOfReferencedSecret(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}
	w.create(server)
	message := w.stalled("alice", v1alpha1.ReasonReferenceNotFound)
	if !strings.Contains(message, "mine") || !strings.Contains(message, "spec.auth.token.secretKeyRef") {
		t.Errorf("the message does not name what is missing: %s", message)
	}
	if err := w.tryGet("alice", &appsv1.StatefulSet{}); !apierrors.IsNotFound(err) {
		t.Errorf("something was installed without the Secret: %v", err)
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"other": "x"}})
	w.eventually("the message names the key", func() error {
		if message := w.stalled("alice", v1alpha1.ReasonReferenceNotFound); !strings.Contains(message, "has no key token") {
			return fmt.Errorf("message %q", message)
		}
		return nil
	})
	w.patch("mine", &corev1.Secret{}, `{"stringData":{"token":"first-token"}}`)
	w.released("alice")
	checksum := w.podChecksum("alice")
	w.patch("mine", &corev1.Secret{}, `{"stringData":{"unrelated":"x"}}`)
	w.quiet()
	if w.podChecksum("alice") != checksum {
		t.Error("an unused key restarted the pod")
	}
	w.patch("mine", &corev1.Secret{}, `{"stringData":{"token":"second-token"}}`)
	w.eventually("a changed Secret changes the checksum", func() error {
		if w.podChecksum("alice") == checksum {
			return fmt.Errorf("checksum is still %s", checksum)
		}
		return nil
	})
	w.nowhere("first-token", "second-token")
}

func TestForeignObjectsAreLeftAlone(t *testing.T) {
	tests := []struct {
		reason string
		object client.Object
	}{
		{"a Service of the name", &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 9}}}}},
		{"a claim of the name", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity("7Gi")}},
		}}},
		{"an Ingress of the name with the operator's label", &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"jupyterserver.dev/name": "alice"}},
			Spec:       networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "x", Port: networkingv1.ServiceBackendPort{Number: 1}}}},
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			foreign := test.object.DeepCopyObject().(client.Object)
			foreign.SetName("alice")
			foreign.SetNamespace(w.namespace)
			w.create(foreign)
			w.create(w.server("alice"))
			message := w.stalled("alice", v1alpha1.ReasonNameConflict)
			after := test.object.DeepCopyObject().(client.Object)
			w.get("alice", after)
			if after.GetResourceVersion() != foreign.GetResourceVersion() {
				t.Errorf("the foreign object was changed: %+v", after)
			}
			if !strings.Contains(message, "alice already exists") {
				t.Errorf("message %q", message)
			}
			w.quiet()
			w.nothingInstalled("alice", test.object)
			// Its deletion resolves the conflict. That does not always trigger a reconciliation, but the operator retries.
			if err := suite.client.Delete(w.ctx, after); err != nil {
				t.Fatal(err)
			}
			w.unprotect(after)
			w.released("alice")
		})
	}
}

// nothingInstalled fails if a rejected install left objects of a release, other than one of the type of but, which existed before,
// and claims, which the operator may not delete.
func (w *world) nothingInstalled(name string, but client.Object) {
	w.Helper()
	for _, o := range []client.Object{&appsv1.StatefulSet{}, &corev1.Service{}, &networkingv1.Ingress{}, &networkingv1.NetworkPolicy{}} {
		if reflect.TypeOf(o) == reflect.TypeOf(but) {
			continue
		}
		if err := w.tryGet(name, o); !apierrors.IsNotFound(err) && o.GetDeletionTimestamp() == nil {
			w.Errorf("%T %s was left behind (%v)", o, name, err)
		}
	}
}

// unprotect acts as the controller that removes the finalizers of deleted claims.
func (w *world) unprotect(o client.Object) {
	if _, ok := o.(*corev1.PersistentVolumeClaim); ok {
		w.patch(o.GetName(), &corev1.PersistentVolumeClaim{}, `{"metadata":{"finalizers":null}}`)
	}
}

func TestTokenThatCannotBeSentIsReported(t *testing.T) {
	w := newWorld(t)
	token := func(value string) string { return fmt.Sprintf(`{"stringData":{"token":%q}}`, value) }
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: w.namespace}, StringData: map[string]string{"token": "c0ffee\n"}})
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "token"}}
	w.create(server)
	if message := w.stalled("alice", v1alpha1.ReasonSecretInvalid); !strings.Contains(message, "line break") || !strings.Contains(message, "--from-literal") {
		t.Errorf("message %q does not say what is wrong and what to do", message)
	}
	w.patch("mine", &corev1.Secret{}, token("c0ffee"))
	w.released("alice")

	w.patch("mine", &corev1.Secret{}, token("c0 ffee"))
	message := w.stalled("alice", v1alpha1.ReasonSecretInvalid)
	if !strings.Contains(message, "printable ASCII") {
		t.Errorf("message %q", message)
	}
	w.get("alice", &appsv1.StatefulSet{}) // a server that was released stays
	w.patch("mine", &corev1.Secret{}, token("c0ffee2"))
	w.released("alice")
}

func TestMissingEnvironmentDoesNotReplaceARunningPod(t *testing.T) {
	ref := func(name string, optional bool) corev1.EnvFromSource {
		return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional}}
	}
	w := newWorld(t)
	secret := func(name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}, StringData: map[string]string{"KEY": "x"}}
	}
	w.create(secret("needed"))
	w.create(secret("optional"))
	server := w.server("alice")
	server.Spec.JupyterServer.EnvFrom = []corev1.EnvFromSource{ref("needed", false), ref("optional", true), ref("never-there", true)}
	w.ranOnce(server)
	checksum := w.podChecksum("alice")

	w.remove("needed", &corev1.Secret{})
	if message := w.stalled("alice", v1alpha1.ReasonReferenceNotFound); !strings.Contains(message, "Secret needed of spec.jupyterServer.envFrom") {
		t.Errorf("message %q", message)
	}
	w.quiet()
	if w.podChecksum("alice") != checksum {
		t.Error("a pod that runs would be replaced by one that cannot start")
	}
	w.create(secret("needed"))
	w.released("alice")
	checksum = w.podChecksum("alice")
	w.playPod("alice", true)
	w.status("alice", "running", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateRunning })

	w.remove("optional", &corev1.Secret{})
	w.eventually("the pod starts again without what is optional", func() error {
		if w.podChecksum("alice") == checksum {
			return fmt.Errorf("the checksum is still %s", checksum)
		}
		return nil
	})
}

func TestForeignSecretAndReleaseAreLeftAlone(t *testing.T) {
	for _, kind := range []corev1.SecretType{corev1.SecretTypeOpaque, records.SecretType} { // informers leave out the latter
		t.Run("a Secret of the type "+string(kind)+" belongs to another owner", func(t *testing.T) {
			w := newWorld(t)
			w.create(&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "alice-jupyter", Namespace: w.namespace}, Type: kind, StringData: map[string]string{"x": "y"},
			})
			w.create(w.server("alice"))
			w.stalled("alice", v1alpha1.ReasonNameConflict)
			w.remove("alice-jupyter", &corev1.Secret{})
			w.released("alice")
		})
	}
	t.Run("the release was installed with Helm", func(t *testing.T) {
		w := newWorld(t)
		w.helm("install", "alice", "../../../chart-jupyter-server", "--set", "routing.host=other.localhost")
		w.create(w.server("alice"))
		message := w.stalled("alice", v1alpha1.ReasonReleaseConflict)
		if !strings.Contains(message, "helm uninstall") {
			t.Errorf("message %q does not say what to do", message)
		}
		ingress := &networkingv1.Ingress{}
		w.get("alice", ingress)
		if ingress.Spec.Rules[0].Host != "other.localhost" {
			t.Errorf("the foreign release was changed: %+v", ingress.Spec)
		}
		w.helm("uninstall", "alice")
		w.remove("alice", &corev1.PersistentVolumeClaim{}) // Helm keeps it, because it holds files
		w.unprotect(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "alice"}})
		w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
		w.released("alice")
	})
}

func TestStockHelmCommandsShowTheRelease(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	w.released("alice")
	if out := w.helm("list"); !strings.Contains(out, "alice") || !strings.Contains(out, "deployed") || !strings.Contains(out, "jupyter-server-0.1.0") {
		t.Errorf("helm list:\n%s", out)
	}
	if out := w.helm("history", "alice"); !strings.Contains(out, "superseded") || strings.Count(out, "deployed") != 1 {
		t.Errorf("helm history:\n%s", out)
	}
	if out := w.helm("get", "all", "alice"); !strings.Contains(out, "kind: StatefulSet") || !strings.Contains(out, "defaultUrl: /tree") {
		t.Errorf("helm get all:\n%s", out)
	}
	if out := w.helm("status", "alice"); !strings.Contains(out, "STATUS: deployed") {
		t.Errorf("helm status:\n%s", out)
	}
}

func TestHistoryIsLimited(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	for i := range 7 {
		w.released("alice")
		w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = fmt.Sprintf("/lab%d", i) })
	}
	w.released("alice")
	w.quiet()
	var records corev1.SecretList
	if err := suite.client.List(w.ctx, &records, client.InNamespace(w.namespace), client.MatchingLabels{"owner": "helm"}); err != nil {
		t.Fatal(err)
	}
	if len(records.Items) != 5 {
		t.Errorf("%d records, want 5", len(records.Items))
	}
}

// helm runs the real Helm CLI in the test's namespace.
func (w *world) helm(args ...string) string {
	w.Helper()
	return apiservertest.Helm(w.T, suite.kubeconfig, w.namespace, args...)
}

func TestServerWithoutAccessControlIsRejected(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Auth.Mode = v1alpha1.AuthModeNone
	w.create(server)
	w.stalled("alice", "AuthNone")
	w.nothingInstalled("alice", nil)
}

func TestSpecRejectedOnApply(t *testing.T) {
	tests := []struct {
		reason string
		edit   func(*v1alpha1.JupyterServer)
		want   string
	}{
		{"an invalid label", func(s *v1alpha1.JupyterServer) {
			s.Spec.Scheduling = &v1alpha1.Scheduling{NodeSelector: map[string]string{"not a label": "x"}}
		}, v1alpha1.ReasonApplyRefused},
		{"a patch with an unknown field", func(s *v1alpha1.JupyterServer) {
			s.Spec.Patches = []v1alpha1.Patch{{Target: v1alpha1.PatchTarget{Kind: "Service"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"spec":{"nonsense":1}}`}}
		}, v1alpha1.ReasonApplyRefused},
		{"a patch that matches nothing", func(s *v1alpha1.JupyterServer) {
			s.Spec.Patches = []v1alpha1.Patch{{Target: v1alpha1.PatchTarget{Kind: "Deployment"}, Type: v1alpha1.PatchTypeMerge, Patch: `{"spec":{"replicas":1}}`}}
		}, v1alpha1.ReasonRenderFailed},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			server := w.server("alice")
			test.edit(server)
			w.create(server)
			w.stalled("alice", test.want)
			w.nothingInstalled("alice", nil)
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Patches, s.Spec.Scheduling = nil, nil })
			w.released("alice")
			if out := w.helm("history", "alice"); strings.Contains(out, "pending") {
				t.Errorf("a record is still pending:\n%s", out)
			}
		})
	}
}

func TestStateFollowsThePod(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	set := &appsv1.StatefulSet{}
	w.get("alice", set)
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, UpdateRevision: "alice-1", Replicas: 1}
	if err := suite.client.Status().Update(w.ctx, set); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "alice-0", Namespace: w.namespace, Labels: map[string]string{"jupyterserver.dev/name": "alice", "controller-revision-hash": "alice-1"}},
		Spec:       corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "jupyter", Image: "x"}}},
	}
	w.create(pod)
	w.podStatus(pod, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name: "jupyter", Image: "x", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: `Back-off pulling image "x"`}},
	}}})
	w.status("alice", "the image", func(s v1alpha1.JupyterServerStatus) bool {
		return s.State == v1alpha1.StateFailed && strings.Contains(s.Message, "spec.jupyterServer.image")
	})
	w.podStatus(pod, corev1.PodStatus{
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "jupyter", RestartCount: 3, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}},
	})
	server := w.status("alice", "running", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateRunning })
	if server.Status.Message != "" || server.Status.StartedAt == nil || server.Status.Pod.Restarts != 3 || !server.Status.Pod.Ready {
		t.Errorf("status of a running server: %+v", server.Status)
	}
	before := w.quiet()
	w.annotate("alice-0", pod, "example.org/x")
	if after := w.quiet(); len(after) != len(before) {
		t.Errorf("unnecessary requests: %v", after[len(before):])
	}
}

func (w *world) podStatus(pod *corev1.Pod, status corev1.PodStatus) {
	w.Helper()
	w.get(pod.Name, pod)
	pod.Status = status
	if err := suite.client.Status().Update(w.ctx, pod); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(name string, o client.Object) {
	w.Helper()
	w.get(name, o)
	if err := suite.client.Delete(w.ctx, o); err != nil {
		w.Fatal(err)
	}
}

// patch applies a strategic merge patch, as kubectl does.
func (w *world) patch(name string, o client.Object, patch string) {
	w.Helper()
	w.get(name, o)
	if err := suite.client.Patch(w.ctx, o, client.RawPatch(types.StrategicMergePatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

func (w *world) patchJSON(name string, o client.Object, patch string) {
	w.Helper()
	w.get(name, o)
	if err := suite.client.Patch(w.ctx, o, client.RawPatch(types.JSONPatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

func expect[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

// A spec that the schema accepts but that cannot be decoded does not affect other servers.
func TestUnreadableSpecDoesNotAffectOtherServers(t *testing.T) {
	tests := []struct {
		reason string
		spec   map[string]any
	}{
		{"a quantity with a broken exponent", map[string]any{"pod": map[string]any{"containers": []any{map[string]any{"name": "x", "resources": map[string]any{"limits": map[string]any{"memory": "1e1.5"}}}}}}},
		{"a port over 32 bits", map[string]any{"pod": map[string]any{"containers": []any{map[string]any{"name": "x", "readinessProbe": map[string]any{"tcpSocket": map[string]any{"port": int64(99999999999)}}}}}}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			broken := w.manifest(w.server("broken"))
			broken.Object["spec"].(map[string]any)["pod"] = test.spec["pod"]
			if err := suite.client.Create(w.ctx, broken); err != nil {
				t.Fatal(err)
			}
			w.create(w.server("alice"))
			w.released("alice")
			w.stalled("broken", v1alpha1.ReasonSpecUnreadable)
		})
	}
}

func TestMemoryAsALargeNumber(t *testing.T) {
	w := newWorld(t)
	server := w.manifest(w.server("alice"))
	server.Object["spec"].(map[string]any)["jupyterServer"] = map[string]any{"resources": map[string]any{"limits": map[string]any{"memory": int64(4294967296)}}}
	if err := suite.client.Create(w.ctx, server); err != nil {
		t.Fatal(err)
	}
	w.released("alice")
	set := &appsv1.StatefulSet{}
	w.get("alice", set)
	if got := set.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value(); got != 4294967296 {
		t.Errorf("memory %d", got)
	}
}

// Manual changes of release records never block a server.
func TestTamperedRecordsBlockNoUpgrade(t *testing.T) {
	tests := []struct {
		reason string
		tamper func(w *world)
	}{
		{"a manual rollback", func(w *world) { w.helm("rollback", "alice", "1") }},
		{"a record that cannot be decoded", func(w *world) {
			w.patch("sh.helm.release.v1.alice.v2", &corev1.Secret{}, `{"stringData":{"release":"garbage"}}`)
		}},
		{"a record with the base64 encoding of garbage", func(w *world) {
			w.patch("sh.helm.release.v1.alice.v2", &corev1.Secret{}, `{"data":{"release":"Z2FyYmFnZQ=="}}`)
		}},
		{"a record without its owner", func(w *world) {
			w.patchJSON("sh.helm.release.v1.alice.v2", &corev1.Secret{}, `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
		}},
		{"a deleted record", func(w *world) { w.remove("sh.helm.release.v1.alice.v2", &corev1.Secret{}) }},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
			w.released("alice")
			test.tamper(w)
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/doc" })
			w.released("alice")
			if out := w.helm("list"); !strings.Contains(out, "deployed") {
				t.Errorf("helm list:\n%s", out)
			}
			var records corev1.SecretList
			if err := suite.client.List(w.ctx, &records, client.InNamespace(w.namespace), client.MatchingLabels{"owner": "helm"}); err != nil {
				t.Fatal(err)
			}
			for _, record := range records.Items {
				if len(record.OwnerReferences) == 0 {
					t.Errorf("%s would outlive the server", record.Name)
				}
			}
		})
	}
}

func TestTokenRemovedFromTheSpecIsReplaced(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Auth.Token = &v1alpha1.SecretValue{Value: "a-leaked-token-of-alice"}
	w.create(server)
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.Token = nil })
	w.released("alice")
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if got := string(secret.Data["token"]); got == "a-leaked-token-of-alice" || len(got) != 48 {
		t.Errorf("token of %d characters, want a generated one", len(got))
	}
	w.patch("alice-jupyter", &corev1.Secret{}, `{"data":{"token":""}}`)
	w.eventually("an empty token is generated again", func() error {
		w.get("alice-jupyter", secret)
		return expect(len(secret.Data["token"]), 48)
	})
}

func TestExistingClaimOfAServerIsRejected(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	bob := w.server("bob")
	bob.Spec.Storage.ExistingClaim = "alice"
	w.create(bob)
	if message := w.stalled("bob", v1alpha1.ReasonClaimOwned); !strings.Contains(message, "JupyterServer alice") {
		t.Errorf("message %q", message)
	}
}

// The informers select objects by this label, so a patch cannot remove it.
func TestPatchCannotRemoveTheLabel(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Suspend = true
	server.Spec.Patches = []v1alpha1.Patch{{
		Target: v1alpha1.PatchTarget{Kind: "Service"}, Type: v1alpha1.PatchTypeJSON,
		Patch: `[{"op":"remove","path":"/metadata/labels/jupyterserver.dev~1name"}]`,
	}}
	w.create(server)
	w.released("alice")
	before := w.quiet()
	w.annotate("alice", &appsv1.StatefulSet{}, "example.org/x")
	if after := w.quiet(); len(after) != len(before) {
		t.Errorf("the operator reverts forever: %v", after[len(before):])
	}
}

// spec.storage.retain also applies to a claim that the spec no longer uses.
func TestUnusedRetainedClaimIsOrphaned(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Storage.Ephemeral, s.Spec.Storage.Retain = true, true })
	w.released("alice")
	w.eventually("the claim has no owner", func() error {
		claim := &corev1.PersistentVolumeClaim{}
		w.get("alice", claim)
		return expect(len(claim.OwnerReferences), 0)
	})
	w.quiet()
}
