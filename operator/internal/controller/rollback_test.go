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

// playPod acts as the StatefulSet controller and the kubelet: it creates a pod of the newest template, which can or cannot start.
func (w *world) playPod(name string, starts bool) {
	w.Helper()
	w.eventually("creating the pod", func() error {
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

// ranOnce creates a server whose first revision is good.
func (w *world) ranOnce(server *v1alpha1.JupyterServer) {
	w.Helper()
	w.create(server)
	w.released(server.Name)
	w.playPod(server.Name, true)
	w.status(server.Name, "good", func(s v1alpha1.JupyterServerStatus) bool { return s.Release.GoodRevision == 1 })
}

// breaksAfterItRan creates a server that ran once and then gets an image that cannot be pulled.
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
		t.Errorf("url %s, want that of the running revision", after.Status.URL)
	}
	if meta.IsStatusConditionTrue(after.Status.Conditions, v1alpha1.ConditionReady) {
		t.Error("ready, although the spec is not running")
	}
	if history := w.helm("history", "alice"); !strings.Contains(history, "Rollback to 1") || strings.Count(history, "deployed") != 1 {
		t.Errorf("helm history:\n%s", history)
	}

	w.remove("alice", &corev1.Service{})
	w.eventually("drift from the revision after the rollback is reverted", func() error { return w.tryGet("alice", &corev1.Service{}) })
	w.runsImage("alice", goodImage)

	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = "example.org/right:1" })
	w.runsImage("alice", "example.org/right:1")
	corrected := w.released("alice")
	if corrected.Status.Release.RolledBack != nil || !strings.HasSuffix(corrected.Status.URL, "/elsewhere/") {
		t.Errorf("status after the correction: %+v", corrected.Status)
	}
}

func TestInlineSecretIsRemovedOnceNoRollbackNeedsIt(t *testing.T) {
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
		t.Error("the secret of the revision to roll back to is gone")
	}
	w.playPod("alice", true)
	w.eventually("the secret that is no longer needed is removed", func() error {
		w.get("alice-jupyter", secret)
		return expect(len(secret.Data["client-secret"]), 0)
	})
}

func TestManualRollbackToAnotherAccessControlIsReverted(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
	w.released("alice")
	w.helm("rollback", "alice", "1")
	w.eventually("the sidecars of the other revision are removed", func() error {
		set := &appsv1.StatefulSet{}
		w.get("alice", set)
		pod := set.Spec.Template.Spec
		return expect(fmt.Sprint(len(pod.InitContainers), len(pod.Containers), slices.ContainsFunc(set.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
			return e.Manager == "helm"
		})), "0 1 false")
	})
}

// A manual rollback creates objects that only the other revision has, without an owner. They would outlive the server.
func TestObjectsOfAManualRollbackArePruned(t *testing.T) {
	w := newWorld(t)
	w.create(w.oidcServer("alice"))
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken} })
	w.released("alice")
	w.eventually("the other access control is pruned", func() error { return w.isGone("alice-access", &corev1.ConfigMap{}) })
	releases := map[string][2]string{"another-release": {w.namespace, "theirs"}, "another-namespace": {"theirs", "alice"}}
	for name, release := range releases {
		theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: w.namespace, Labels: map[string]string{"jupyterserver.dev/name": "alice"},
			Annotations: map[string]string{"meta.helm.sh/release-namespace": release[0], "meta.helm.sh/release-name": release[1]},
		}}
		if err := suite.client.Create(w.ctx, theirs, client.FieldOwner("helm")); err != nil {
			t.Fatal(err)
		}
	}
	w.helm("rollback", "alice", "1")
	w.eventually("the objects that Helm created are pruned", func() error {
		return errors.Join(w.isGone("alice-access", &corev1.ConfigMap{}), w.isGone("alice-access-rules", &corev1.ConfigMap{}))
	})
	w.quiet()
	for name := range releases {
		w.get(name, &corev1.ConfigMap{})
	}
}

// With --force, Helm replaces the objects by others without an owner and without a trace of Helm as their manager.
func TestForcedManualRollbackIsReverted(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Storage.Ephemeral = true // a claim cannot be replaced
	w.create(server)
	w.released("alice")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	server = w.released("alice")
	w.helm("rollback", "--force", "alice", "1")
	w.eventually("the server owns every object again", func() error {
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

// Records that Helm has updated have no owner. They outlive the server, and do not block the next one with its name.
func TestRecordsWithoutOwnerDoNotBlockTheNextServer(t *testing.T) {
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

// Secrets that only look like records are neither changed nor counted.
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

// Objects that Helm creates for the release have no owner. They are adopted, not treated as foreign.
func TestObjectsCreatedByHelmAreAdopted(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.JupyterServer.Image = "old"
	w.create(server)
	w.released("alice")
	w.label(map[string]string{forbidden: "old"}) // nothing is restored while Helm works
	w.stalled("alice", "SuiteImage")
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })
	w.status("alice", "stopped", func(s v1alpha1.JupyterServerStatus) bool { return s.State == v1alpha1.StateSuspended })
	w.remove("alice", &corev1.Service{})
	w.helm("rollback", "alice", "1")
	service := &corev1.Service{}
	w.get("alice", service)
	if len(service.OwnerReferences) > 0 {
		t.Fatalf("the Service was not created by Helm: %v", service.OwnerReferences)
	}
	w.label(map[string]string{forbidden: ""})
	server = w.released("alice")
	w.get("alice", service)
	if !metav1.IsControlledBy(service, server) {
		t.Errorf("the Service has the owners %v", service.OwnerReferences)
	}
}

// Helm and the operator worked at the same time: both have written the record of one revision, Helm as the last.
func TestRecordOverwrittenByHelmIsNotTheRelease(t *testing.T) {
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
	w.remove("alice", &corev1.Service{}) // the other trace of Helm
	w.eventually("the release is recorded again", func() error {
		if history := w.helm("history", "alice"); !strings.Contains(history, "Recorded again") || strings.Count(history, "deployed") != 1 {
			return errors.New(history)
		}
		return nil
	})
	if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "/tree") {
		t.Errorf("the newest manifest is not that of the spec:\n%s", manifest)
	}
}

// Helm completes a rollback shortly after an upgrade by the operator, which overlapped with it.
func TestRecordThatHelmWritesAfterAnUpgrade(t *testing.T) {
	w := newWorld(t)
	w.create(w.server("alice"))
	w.released("alice")
	records, record := w.record(1)
	record.Version, record.Info.Status = 2, helmrelease.StatusPendingRollback
	w.writeRecord(record)
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.DefaultURL = "/tree" })
	if revision := w.released("alice").Status.Release.Revision; revision != 2 {
		t.Fatalf("revision %d: the two did not overlap", revision)
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

// A newer record of the release, whatever its owner, is superseded as soon as it is observed.
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

// A record with which Helm has replaced the good one is nothing to roll back to.
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
	w.status("alice", "the failed rollback is reported", func(s v1alpha1.JupyterServerStatus) bool {
		return strings.Contains(s.Message, "cannot be rolled back: The record")
	})
}

// records returns Helm's own storage driver.
func (w *world) records() *driver.Secrets {
	w.Helper()
	kube, err := kubernetes.NewForConfig(suite.config)
	if err != nil {
		w.Fatal(err)
	}
	return driver.NewSecrets(kube.CoreV1().Secrets(w.namespace))
}

// record returns the record of a revision of alice, and the driver to write another one.
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

// isGone returns an error unless an object does not exist.
func (w *world) isGone(name string, o client.Object) error {
	err := w.tryGet(name, o)
	if err == nil {
		return fmt.Errorf("%T %s exists", o, name)
	}
	return client.IgnoreNotFound(err)
}

func TestNotRolledBack(t *testing.T) {
	tests := []struct {
		reason  string
		release *v1alpha1.Release
	}{
		{"rollbacks are not enabled", nil},
		{"rollbacks are disabled", &v1alpha1.Release{RollbackOnFailure: new(false)}},
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

// There is no revision to roll back to.
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

func TestEnablingRollbackIsNoNewRevision(t *testing.T) {
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

// The record to roll back to is kept longer than others, and pruned once there is a newer one.
func TestRecordToRollBackToIsKept(t *testing.T) {
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
	w.eventually("the first record is pruned", func() error { return w.hasRecords(4, 5, 6, 7, 8) })

	first.ResourceVersion, first.UID = "", ""
	if err := suite.client.Create(w.ctx, first); err != nil { // as if the operator had been killed before it pruned the record
		t.Fatal(err)
	}
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = goodImage })
	w.eventually("a record that was left is pruned with the next revision", func() error { return w.hasRecords(5, 6, 7, 8, 9) })
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

// hasRecords returns an error unless these revisions have records.
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

// After commands of Helm, both the objects and the records of a release are restored.
func TestReleaseIsRestoredAfterHelm(t *testing.T) {
	tests := []struct {
		reason   string
		helm     []string
		revision string
	}{
		{"the release is restored after `helm uninstall`", []string{"uninstall", "alice"}, "3"},
		{"records that `helm uninstall --keep-history` keeps are skipped", []string{"uninstall", "--keep-history", "alice"}, "3"},
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
				t.Errorf("the newest manifest is not that of the spec:\n%s", manifest)
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

// A revision that ran once may be denied by now: a rollback would start a new pod of it.
func TestNotRolledBackToADeniedRevision(t *testing.T) {
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
	message := w.status("alice", "the failed rollback is reported", func(s v1alpha1.JupyterServerStatus) bool {
		return strings.Contains(s.Message, "cannot be rolled back")
	}).Status.Message
	if !strings.Contains(message, "route-taken") {
		t.Errorf("the message does not say why: %s", message)
	}
	w.quiet()
	w.runsImage("alice", badImage)
}

func TestRollbackWithoutARecordIsReported(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.ranOnce(server)
	w.remove("sh.helm.release.v1.alice.v1", &corev1.Secret{})
	w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = badImage })
	w.runsImage("alice", badImage)
	w.playPod("alice", false)
	w.status("alice", "the failed rollback is reported", func(s v1alpha1.JupyterServerStatus) bool {
		return strings.Contains(s.Message, "cannot be rolled back: The record")
	})
}

// Commands of Helm do not make the operator retry a revision that was rolled back.
func TestHelmAfterARollback(t *testing.T) {
	w := newWorld(t)
	server := w.server("alice")
	server.Spec.Release = &v1alpha1.Release{RollbackOnFailure: new(true)}
	w.breaksAfterItRan(server)
	w.runsImage("alice", goodImage)
	w.playPod("alice", true)
	w.stalled("alice", v1alpha1.ReasonRolledBack)
	w.helm("rollback", "alice", "2")
	w.eventually("the revision after the rollback is recorded again", func() error {
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
	w.eventually("the spec is tried, because no other revision is known", func() error {
		return w.tryGet("alice", &appsv1.StatefulSet{})
	})
}
