// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const (
	goodImage = "quay.io/jupyter/minimal-notebook:latest"
	badImage  = "example.org/misspelt:1"
)

// playPod plays the StatefulSet controller and the kubelet: a pod of the newest template, which can or cannot start.
func (w *world) playPod(name string, starts bool) {
	w.Helper()
	w.eventually("playing the pod", func() error {
		set := &appsv1.StatefulSet{}
		if err := w.tryGet(name, set); err != nil {
			return err
		}
		image := set.Spec.Template.Spec.Containers[0].Image
		hash := fmt.Sprintf("%s-%d", name, set.Generation)
		old := &corev1.Pod{}
		if err := w.tryGet(name+"-0", old); err == nil {
			if err := suite.client.Delete(w.ctx, old, client.GracePeriodSeconds(0)); err != nil {
				return err
			}
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-0", Namespace: w.namespace, Labels: map[string]string{"jupyterserver.dev/name": name, "controller-revision-hash": hash}},
			Spec:       corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "jupyter", Image: image}}},
		}
		if err := suite.client.Create(w.ctx, pod); err != nil {
			return err
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "jupyter", Image: image, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}},
		}}
		if starts {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "jupyter", Image: image, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
			}}
		}
		if err := suite.client.Status().Update(w.ctx, pod); err != nil {
			return err
		}
		set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, UpdateRevision: hash, Replicas: 1}
		return suite.client.Status().Update(w.ctx, set)
	})
}

// runsImage waits until the StatefulSet has an image.
func (w *world) runsImage(name, image string) {
	w.Helper()
	w.eventually("the image of "+name, func() error {
		set := &appsv1.StatefulSet{}
		if err := w.tryGet(name, set); err != nil {
			return err
		}
		return expect(set.Spec.Template.Spec.Containers[0].Image, image)
	})
}

// ranOnce makes a server whose first revision is good.
func (w *world) ranOnce(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.create(server)
	w.released(server.Name)
	w.playPod(server.Name, true)
	w.status(server.Name, "good", func(s v1alpha1.JupyterServerStatus) bool { return s.Release.GoodRevision == 1 })
}

// breaksAfterItRan makes a server that ran once, and then gets an image that cannot be pulled.
func (w *world) breaksAfterItRan(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.ranOnce(server)
	w.change(server.Name, func(s *v1alpha1.JupyterServer) {
		s.Spec.JupyterServer.Image = badImage
		s.Spec.Routing.Path = "/elsewhere"
	})
	w.runsImage(server.Name, badImage)
	w.playPod(server.Name, false)
}

func TestRevisionThatCannotStartIsRolledBack(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.breaksAfterItRan(server)

	w.runsImage("alice", goodImage)
	message := w.stalled("alice", v1alpha1.ReasonRolledBack)
	if !strings.Contains(message, badImage) || !strings.Contains(message, "Revision 2") {
		t.Errorf("the message does not say what did not start, and why: %s", message)
	}
	w.playPod("alice", true)
	after := w.status("alice", "running again", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateRunning })
	if !strings.HasSuffix(after.Status.URL, "/alice/") {
		t.Errorf("url %s, want that of what runs", after.Status.URL)
	}
	if meta.IsStatusConditionTrue(after.Status.Conditions, v1alpha1.ConditionReady) {
		t.Error("ready, though the spec is not what runs")
	}
	if history := w.helm("history", "alice"); !strings.Contains(history, "Rollback to 1") || strings.Count(history, "deployed") != 1 {
		t.Errorf("helm history:\n%s", history)
	}

	w.remove("alice", &corev1.Service{})
	w.eventually("what was rolled back to is kept", func() error { return w.tryGet("alice", &corev1.Service{}) })
	w.runsImage("alice", goodImage)

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "example.org/right:1" })
	w.runsImage("alice", "example.org/right:1")
	corrected := w.released("alice")
	if corrected.Status.Release.RolledBack != nil || !strings.HasSuffix(corrected.Status.URL, "/elsewhere/") {
		t.Errorf("status after the correction: %+v", corrected.Status)
	}
}

func TestInlineSecretGoesOnceNoWayLeadsBackToIt(t *testing.T) {
	w := newWorld(t)
	server := w.oidcServer("alice")
	server.Spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: "an-inline-client-secret"}
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.ranOnce(server)

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth.OIDC.ClientSecret = nil })
	w.released("alice")
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	if len(secret.Data["client-secret"]) == 0 {
		t.Error("the secret of the revision that would be put back is gone")
	}
	w.playPod("alice", true)
	w.eventually("the secret that nothing needs any more is gone", func() error {
		w.get("alice-jupyter", secret)
		return expect(len(secret.Data["client-secret"]), 0)
	})
}

func TestRollbackByHandToAnotherAccessControlLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
	w.released("alice")
	w.helm("rollback", "alice", "1")
	w.eventually("the sidecars of the other revision are gone", func() error {
		set := &appsv1.StatefulSet{}
		w.get("alice", set)
		pod := set.Spec.Template.Spec
		return expect(fmt.Sprint(len(pod.InitContainers), len(pod.Containers), slices.ContainsFunc(set.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
			return e.Manager == "helm"
		})), "0 1 false")
	})
}

// Objects that only the other revision has come back without an owner: they would outlive the server.
func TestObjectsThatRollbackByHandAddsGo(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
	w.released("alice")
	w.eventually("the other access control is pruned", func() error { return w.isGone("alice-access", &corev1.ConfigMap{}) })
	releases := map[string][2]string{"another-release": {w.namespace, "theirs"}, "another-namespace": {"theirs", "alice"}}
	for name, release := range releases {
		somebodyElses := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: w.namespace, Labels: map[string]string{"jupyterserver.dev/name": "alice"},
			Annotations: map[string]string{"meta.helm.sh/release-namespace": release[0], "meta.helm.sh/release-name": release[1]},
		}}
		if err := suite.client.Create(w.ctx, somebodyElses, client.FieldOwner("helm")); err != nil {
			t.Fatal(err)
		}
	}
	w.helm("rollback", "alice", "1")
	w.eventually("what Helm added is gone", func() error {
		return errors.Join(w.isGone("alice-access", &corev1.ConfigMap{}), w.isGone("alice-access-rules", &corev1.ConfigMap{}))
	})
	w.quiet()
	for name := range releases {
		w.get(name, &corev1.ConfigMap{})
	}
}

// With --force Helm puts its objects in the place of ours, without owner and without a trace of its hand.
func TestForcedRollbackByHandIsUndone(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Storage.Ephemeral = true // a claim cannot be replaced
	w.create(server)
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	server = w.released("alice")
	w.helm("rollback", "--force", "alice", "1")
	w.eventually("every object is the server's again", func() error {
		for _, o := range []client.Object{&appsv1.StatefulSet{}, &corev1.Service{}, &networkingv1.Ingress{}, &networkingv1.NetworkPolicy{}} {
			if err := w.tryGet("alice", o); err != nil {
				return err
			}
			if !metav1.IsControlledBy(o, server) {
				return fmt.Errorf("%T has the owners %v", o, o.GetOwnerReferences())
			}
		}
		return nil
	})
	w.eventually("the release is recorded again", func() error {
		if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "/tree") {
			return errors.New(manifest)
		}
		return nil
	})
	w.released("alice")
}

// Records that Helm has marked have no owner. They stay when the server goes, and do not stop the next one of its name.
func TestRecordsWithoutOwnerDoNotStopTheNextServer(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	records, record := w.record(1)
	if err := records.Update("sh.helm.release.v1.alice.v1", record); err != nil {
		t.Fatal(err)
	}
	w.removeServer("alice")
	w.record(1)
	w.create(w.server("alice"))
	server := w.released("alice")
	if history := w.helm("history", "alice"); strings.Count(history, "deployed") != 1 {
		t.Errorf("helm history:\n%s", history)
	}
	secret := &corev1.Secret{}
	w.get("sh.helm.release.v1.alice.v1", secret)
	if !metav1.IsControlledBy(secret, server) {
		t.Errorf("the record has the owners %v", secret.OwnerReferences)
	}
}

// What only looks like a record is neither touched nor counted.
func TestSecretsLikeRecordsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	versions := map[string]string{"notes": "", "copy": "1", "sh.helm.release.v1.alice.vfoo": "9223372036854775807", "sh.helm.release.v1.alice.v9223372036854775807": "9223372036854775807"}
	for name, version := range versions {
		labels := map[string]string{"owner": "helm", "name": "alice", "status": "deployed", "version": version}
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace, Labels: labels}})
	}
	w.remove("sh.helm.release.v1.alice.v1", &corev1.Secret{})
	w.remove("alice", &corev1.Service{})
	w.eventually("the release is recorded again", func() error { return w.tryGet("sh.helm.release.v1.alice.v2", &corev1.Secret{}) })
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	w.released("alice")
	for name := range versions {
		secret := &corev1.Secret{}
		if w.get(name, secret); len(secret.OwnerReferences) > 0 {
			t.Errorf("%s would be deleted with the server", name)
		}
	}
}

// Helm makes objects of the release without an owner. They are taken up, and not taken for somebody else's.
func TestObjectsThatHelmMadeAreTakenUp(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "old"
	w.create(server)
	w.released("alice")
	w.label(map[string]string{forbidden: "old"}) // nothing is put back while Helm works
	w.stalled("alice", "SuiteImage")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })
	w.status("alice", "stopped", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateSuspended })
	w.remove("alice", &corev1.Service{})
	w.helm("rollback", "alice", "1")
	service := &corev1.Service{}
	w.get("alice", service)
	if len(service.OwnerReferences) > 0 {
		t.Fatalf("Helm did not make it: %v", service.OwnerReferences)
	}
	w.label(map[string]string{forbidden: ""})
	server = w.released("alice")
	w.get("alice", service)
	if !metav1.IsControlledBy(service, server) {
		t.Errorf("it is not the server's: %v", service.OwnerReferences)
	}
}

// Helm and the operator have worked at the same time: both have written the record of one number, and Helm was the last.
func TestRecordOfHelmIsNotTheRelease(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	w.released("alice")
	records, record := w.record(1)
	record.Version, record.Info.Status = 2, helmrelease.StatusDeployed
	if err := records.Update("sh.helm.release.v1.alice.v2", record); err != nil {
		t.Fatal(err)
	}
	w.remove("alice", &corev1.Service{}) // Helm's other trace
	w.eventually("the release is recorded again", func() error {
		if history := w.helm("history", "alice"); !strings.Contains(history, "Recorded again") || strings.Count(history, "deployed") != 1 {
			return errors.New(history)
		}
		return nil
	})
	if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "/tree") {
		t.Errorf("the newest manifest is not what the spec says:\n%s", manifest)
	}
}

// Helm finishes its rollback, which the operator has met in an upgrade of its own, a moment later.
func TestRecordThatHelmWritesAfterAnUpgrade(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	records, record := w.record(1)
	record.Version, record.Info.Status = 2, helmrelease.StatusPendingRollback
	w.writeRecord(record)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	if revision := w.released("alice").Status.Release.Revision; revision != 2 {
		t.Fatalf("revision %d: the two did not meet", revision)
	}
	record.Info.Status = helmrelease.StatusDeployed
	if err := records.Update("sh.helm.release.v1.alice.v2", record); err != nil {
		t.Fatal(err)
	}
	w.eventually("the release is recorded again", func() error {
		if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "/tree") {
			return errors.New(manifest)
		}
		return nil
	})
}

// A newer record of the name, of whoever, is history as soon as it is seen.
func TestNewerRecordIsSuperseded(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	_, record := w.record(1)
	record.Version, record.Manifest = 9, "# another one"
	w.writeRecord(record)
	w.remove("alice", &corev1.Service{})
	w.eventually("the release is the newest, and the only one that is deployed", func() error {
		list, history := w.helm("list", "--output", "json"), w.helm("history", "alice")
		if !strings.Contains(list, `"revision":"10"`) || strings.Count(history, "deployed") != 1 {
			return errors.New(list + history)
		}
		return nil
	})
}

// What Helm wrote in the place of the good record is nothing to go back to.
func TestNotRolledBackToARecordOfHelm(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.ranOnce(server)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = badImage })
	w.runsImage("alice", badImage)
	records, record := w.record(2)
	record.Version = 1
	if err := records.Update("sh.helm.release.v1.alice.v1", record); err != nil {
		t.Fatal(err)
	}
	w.playPod("alice", false)
	w.status("alice", "told", func(s v1alpha1.JupyterServerStatus) bool {
		return strings.Contains(s.Message, "cannot be rolled back: The record")
	})
}

// records are Helm's own hand on the records.
func (w *world) records() *driver.Secrets {
	w.Helper()
	kube, err := kubernetes.NewForConfig(suite.config)
	if err != nil {
		w.Fatal(err)
	}
	return driver.NewSecrets(kube.CoreV1().Secrets(w.namespace))
}

// record is the record of a revision of alice, for Helm to write another one of.
func (w *world) record(revision int) (*driver.Secrets, *helmrelease.Release) {
	w.Helper()
	records := w.records()
	record, err := records.Get(fmt.Sprintf("sh.helm.release.v1.alice.v%d", revision))
	if err != nil {
		w.Fatal(err)
	}
	return records, record
}

// writeRecord writes a record as Helm would: without an owner.
func (w *world) writeRecord(record *helmrelease.Release) {
	w.Helper()
	if err := w.records().Create(fmt.Sprintf("sh.helm.release.v1.alice.v%d", record.Version), record); err != nil {
		w.Fatal(err)
	}
}

func (w *world) isGone(name string, o client.Object) error {
	err := w.tryGet(name, o)
	if err == nil {
		return fmt.Errorf("%T %s is there", o, name)
	}
	return client.IgnoreNotFound(err)
}

func TestNotRolledBack(t *testing.T) {
	tests := []struct {
		reason  string
		release *v1alpha1.Release
	}{
		{"nobody asked for it", nil},
		{"the server asks for it not to be", &v1alpha1.Release{RollbackOnFailure: new(false)}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			server := w.server("alice")
			server.Spec.Release = test.release
			w.breaksAfterItRan(server)
			w.status("alice", "failed", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateFailed })
			w.quiet()
			w.runsImage("alice", badImage)
		})
	}
}

// There is nothing to go back to.
func TestFirstRevisionIsNotRolledBack(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = badImage
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.create(server)
	w.released("alice")
	w.playPod("alice", false)
	w.status("alice", "failed", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateFailed })
	w.quiet()
	w.runsImage("alice", badImage)
}

func TestSwitchingRollbackOnIsNoNewRevision(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	})
	if after := w.released("alice"); after.Status.Release.Revision != 1 {
		t.Errorf("revision %d, want 1", after.Status.Release.Revision)
	}
}

// The record to go back to is kept longer than others, and goes once there is a newer one.
func TestRecordToGoBackToIsKept(t *testing.T) {
	w := newWorld(t)
	w.ranOnce(w.server("alice"))
	for i := range 7 {
		w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = fmt.Sprintf("example.org/bad:%d", i) })
		w.runsImage("alice", fmt.Sprintf("example.org/bad:%d", i))
		w.released("alice")
	}
	if err := w.hasRecords(1, 4, 5, 6, 7, 8); err != nil {
		t.Error(err)
	}
	first := &corev1.Secret{}
	w.get("sh.helm.release.v1.alice.v1", first)
	w.playPod("alice", true)
	w.eventually("the first record goes", func() error { return w.hasRecords(4, 5, 6, 7, 8) })

	first.ResourceVersion, first.UID = "", ""
	if err := suite.client.Create(w.ctx, first); err != nil { // as if the operator had ended before it deleted the record
		t.Fatal(err)
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = goodImage })
	w.eventually("a record that was left behind goes with the next revision", func() error { return w.hasRecords(5, 6, 7, 8, 9) })
}

func TestRollbackRetainsAClaimThatEitherSpecRetains(t *testing.T) {
	tests := []struct {
		reason         string
		good, bad, own bool
	}{
		{"neither revision retains it", false, false, true},
		{"only the revision that ran does", true, false, false},
		{"only the spec that was rolled back does", false, true, false},
		{"both do", true, true, false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			server := w.server("alice")
			server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
			server.Spec.Storage.Retain = test.good
			w.ranOnce(server)
			w.change("alice", func(s *v1alpha1.JupyterServer) {
				s.Spec.JupyterServer.Image, s.Spec.Storage.Retain = badImage, test.bad
			})
			w.runsImage("alice", badImage)
			w.playPod("alice", false)
			w.runsImage("alice", goodImage)
			w.stalled("alice", v1alpha1.ReasonRolledBack)
			w.quiet()
			claim := &corev1.PersistentVolumeClaim{}
			if w.get("alice", claim); (len(claim.OwnerReferences) > 0) != test.own {
				t.Errorf("the claim has the owners %v", claim.OwnerReferences)
			}
		})
	}
}

func (w *world) hasRecords(revisions ...int) error {
	var list corev1.SecretList
	if err := suite.client.List(w.ctx, &list, client.InNamespace(w.namespace), client.MatchingLabels{"owner": "helm"}); err != nil {
		return err
	}
	var got, want []string
	for _, record := range list.Items {
		got = append(got, record.Labels["version"])
	}
	for _, revision := range revisions {
		want = append(want, strconv.Itoa(revision))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return errors.New("records " + strings.Join(got, " ") + ", want " + strings.Join(want, " "))
	}
	return nil
}

// Who takes a release away with Helm has the objects put back, and the records too.
func TestRecordsArePutRightAfterHelm(t *testing.T) {
	tests := []struct {
		reason   string
		helm     []string
		revision string
	}{
		{"the release goes on after `helm uninstall`", []string{"uninstall", "alice"}, "3"},
		{"what a `helm uninstall --keep-history` left is passed over", []string{"uninstall", "--keep-history", "alice"}, "3"},
		{"the newest revision is that of the spec after `helm rollback`", []string{"rollback", "alice", "1"}, "4"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
			w.released("alice")
			w.helm(test.helm...)
			w.eventually("the release is recorded again", func() error {
				listed := w.helm("list", "--output", "json")
				if !strings.Contains(listed, `"revision":"`+test.revision+`"`) || !strings.Contains(listed, `"status":"deployed"`) {
					return errors.New(listed)
				}
				return nil
			})
			if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "/tree") {
				t.Errorf("the newest manifest is not what the spec says:\n%s", manifest)
			}
			for _, o := range []client.Object{&appsv1.StatefulSet{}, &corev1.Service{}, &corev1.PersistentVolumeClaim{}} {
				w.get("alice", o)
			}
			if count := strings.Count(w.helm("history", "alice"), "deployed"); count != 1 {
				t.Errorf("%d deployed revisions:\n%s", count, w.helm("history", "alice"))
			}
		})
	}
}

// What ran once may be forbidden by now: a rollback would start a new pod of it.
func TestNotRolledBackToWhatIsForbidden(t *testing.T) {
	w := newWorld(t)
	first := w.server("alice")
	first.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.ranOnce(first)
	w.change("alice", func(s *v1alpha1.JupyterServer) {
		s.Spec.JupyterServer.Image = badImage
		s.Spec.Routing.Path = "/elsewhere"
	})
	w.runsImage("alice", badImage)
	second := w.server("bob")
	second.Spec.Routing.Path = "/alice"
	w.create(second)
	w.released("bob")
	w.playPod("alice", false)
	message := w.status("alice", "kept as it is", func(s v1alpha1.JupyterServerStatus) bool {
		return strings.Contains(s.Message, "cannot be rolled back")
	}).Status.Message
	if !strings.Contains(message, "route-taken") {
		t.Errorf("the message does not say why: %s", message)
	}
	w.quiet()
	w.runsImage("alice", badImage)
}

func TestRollbackWithoutARecordIsTold(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.ranOnce(server)
	w.remove("sh.helm.release.v1.alice.v1", &corev1.Secret{})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = badImage })
	w.runsImage("alice", badImage)
	w.playPod("alice", false)
	w.status("alice", "told", func(s v1alpha1.JupyterServerStatus) bool {
		return strings.Contains(s.Message, "cannot be rolled back: The record")
	})
}

// Helm's own commands are no reason to try again what was rolled back.
func TestHelmAfterARollback(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.breaksAfterItRan(server)
	w.runsImage("alice", goodImage)
	w.playPod("alice", true)
	w.stalled("alice", v1alpha1.ReasonRolledBack)
	w.helm("rollback", "alice", "2")
	w.eventually("what was rolled back to is recorded again", func() error {
		if history := w.helm("history", "alice"); !strings.Contains(history, "Recorded again") {
			return errors.New(history)
		}
		return nil
	})
	w.status("alice", "recorded", func(s v1alpha1.JupyterServerStatus) bool {
		return s.Release.Revision > 3 && s.Release.RolledBack != nil
	})
	w.annotate("alice", &v1alpha1.JupyterServer{}, "example.org/look-again")
	w.quiet()
	w.runsImage("alice", goodImage)
	w.stalled("alice", v1alpha1.ReasonRolledBack)

	w.helm("uninstall", "alice")
	pod := &corev1.Pod{}
	w.get("alice-0", pod)
	if err := suite.client.Delete(w.ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the spec is tried, since nothing else is known", func() error {
		return w.tryGet("alice", &appsv1.StatefulSet{})
	})
}
