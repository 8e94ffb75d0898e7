// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// step is a change of a server to which the operator responds with writes.
type step struct {
	name string
	do   func(ctx context.Context, namespace string) error
	// smooth is true if no fault is injected in this step, which only leads to the next.
	smooth bool
}

// life is the history of one server, from its creation to its deletion.
type life struct {
	name  string
	steps []step
}

// lives returns lives in which objects of all kinds are created, changed, edited, deleted, pruned and orphaned. Most steps are those of
// a suspended server, because one that waits for a pod is reconciled periodically, and no pod starts.
func lives() []life {
	var (
		suspend = step{name: "suspend", do: change(func(s *v1alpha1.JupyterServer) { s.Spec.Suspend = true })}
		remove  = step{name: "delete", do: removeServer}
	)
	return []life{
		{"token", []step{
			{name: "install", do: create(tokenServer)},
			suspend,
			{name: "drift", do: drift("")},
			{name: "upgrade", do: change(func(s *v1alpha1.JupyterServer) {
				image("example.org/image:2")(s)
				s.Spec.Routing.Path = "/elsewhere"
			})},
			{name: "change", smooth: true, do: change(image("example.org/image:3"))},
			{name: "another change", smooth: true, do: change(image("example.org/image:4"))},
			{name: "change with five records", do: change(image("example.org/image:5"))},
			remove,
		}},
		{"oidc", []step{
			{name: "install", do: create(oidcServer)},
			suspend,
			{name: "drift", do: drift(serverName + "-access")},
			{name: "upgrade", do: change(func(s *v1alpha1.JupyterServer) {
				image("example.org/image:2")(s)
				s.Spec.Auth = v1alpha1.Auth{Mode: v1alpha1.AuthModeToken}    // prunes two ConfigMaps
				s.Spec.Storage.Ephemeral, s.Spec.Storage.Retain = true, true // orphans the claim
			})},
			remove,
		}},
	}
}

func tokenServer(namespace string) *v1alpha1.JupyterServer {
	s := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Name: serverName, Namespace: namespace}}
	s.Spec.Routing.Host = namespace + ".localhost" // servers with the same route are rejected
	return s
}

func oidcServer(namespace string) *v1alpha1.JupyterServer {
	s := tokenServer(namespace)
	s.Spec.Auth.Mode = v1alpha1.AuthModeOIDC
	s.Spec.Auth.OIDC = &v1alpha1.OIDC{IssuerURL: "https://id.example.org", ClientID: "x", Allow: v1alpha1.Allow{Users: []string{"u"}}}
	return s
}

// create creates a server. It sends only the fields that are set, as a user would.
func create(server func(namespace string) *v1alpha1.JupyterServer) func(context.Context, string) error {
	return func(ctx context.Context, namespace string) error {
		o, err := apiservertest.Manifest(server(namespace))
		if err != nil {
			return err
		}
		return suite.client.Create(ctx, o)
	}
}

// change updates a server's spec as kubectl edit would.
func change(edit func(*v1alpha1.JupyterServer)) func(context.Context, string) error {
	return func(ctx context.Context, namespace string) error {
		server := &v1alpha1.JupyterServer{}
		if err := suite.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: serverName}, server); err != nil {
			return err
		}
		before := server.DeepCopy()
		edit(server)
		return suite.client.Patch(ctx, server, client.MergeFrom(before))
	}
}

func image(name string) func(*v1alpha1.JupyterServer) {
	return func(s *v1alpha1.JupyterServer) { s.Spec.JupyterServer.Image = name }
}

// drift edits two objects and deletes two, and a ConfigMap if it has a name.
func drift(configMap string) func(context.Context, string) error {
	return func(ctx context.Context, namespace string) error {
		named := metav1.ObjectMeta{Namespace: namespace, Name: serverName}
		image := `{"spec":{"template":{"spec":{"containers":[{"name":"jupyter","image":"evil"}]}}}}`
		host := `[{"op":"replace","path":"/spec/rules/0/host","value":"evil.example.org"}]`
		err := errors.Join(
			suite.client.Patch(ctx, &appsv1.StatefulSet{ObjectMeta: named}, client.RawPatch(types.StrategicMergePatchType, []byte(image))),
			suite.client.Patch(ctx, &networkingv1.Ingress{ObjectMeta: named}, client.RawPatch(types.JSONPatchType, []byte(host))),
			suite.client.Delete(ctx, &corev1.Service{ObjectMeta: named}),
			suite.client.Delete(ctx, &networkingv1.NetworkPolicy{ObjectMeta: named}),
		)
		if configMap != "" {
			named.Name = configMap
			err = errors.Join(err, suite.client.Delete(ctx, &corev1.ConfigMap{ObjectMeta: named}))
		}
		return err
	}
}

// removeServer deletes a server in the foreground, so that it exists until its objects are deleted.
func removeServer(ctx context.Context, namespace string) error {
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serverName}}
	return suite.client.Delete(ctx, server, client.PropagationPolicy(metav1.DeletePropagationForeground))
}

// subject is the server of one namespace, with a fault at the n-th write of each step.
type subject struct {
	life      life
	course    course
	namespace string
	fault     fault
	n         int
	// secrets are the generated values of the server, which must not change.
	secrets map[string][]byte
	// rests is true if in this step the operator does nothing more for the server until it is restarted.
	rests bool
}

func (s *subject) String() string {
	return fmt.Sprintf("%s: write %d %s (%s)", s.life.name, s.n, s.fault.name, s.namespace)
}

// course is the life of a server without faults, to which others are compared.
type course struct {
	ends   []snapshot // after each step
	writes []int      // in each step
}

// TestFaultAtEveryWrite injects each fault at each write of each step in the life of a server, and then restarts the operator. The
// state must be the same each time.
func TestFaultAtEveryWrite(t *testing.T) {
	traffic := newTraffic()
	operator := start(t, traffic.over)
	var subjects []*subject
	for i, life := range lives() {
		course := undisturbed(t, traffic, life)
		checkCourse(t, course)
		subjects = append(subjects, subjectsOf(t, life, course, i == 0)...)
	}
	for i := range lives()[0].steps {
		operator = disturb(t, traffic, operator, i, subjects)
		subjects = remaining(t, subjects, i)
	}
}

// undisturbed runs a life without faults.
func undisturbed(t *testing.T, traffic *traffic, life life) course {
	t.Helper()
	namespace := newNamespace(t)
	var out course
	for _, step := range life.steps {
		before := len(traffic.writesOf(namespace))
		if err := step.do(t.Context(), namespace); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		eventually(t, step.name, func() error {
			if len(traffic.writesOf(namespace)) == before {
				return errors.New("the operator did nothing")
			}
			return errors.Join(settled(t.Context(), namespace), traffic.calm())
		})
		end, err := snapshots(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		out.ends = append(out.ends, end[namespace])
		out.writes = append(out.writes, len(traffic.writesOf(namespace))-before)
	}
	return out
}

// checkCourse checks what others are compared to: drift is reverted, and objects that are no longer rendered are pruned.
func checkCourse(t *testing.T, course course) {
	t.Helper()
	const suspended, drifted, upgraded = 1, 2, 3
	if err := differences(course.ends[drifted], course.ends[suspended]); err != nil {
		t.Errorf("drift was not reverted: %v", err)
	}
	for name, text := range course.ends[upgraded] {
		if strings.HasPrefix(name, "ConfigMap ") {
			t.Errorf("%s was not pruned", name)
		}
		if strings.HasPrefix(name, "StatefulSet ") && !strings.Contains(text, "example.org/image:2") {
			t.Errorf("%s was not upgraded: %s", name, text)
		}
	}
}

// settled returns an error unless a server has released its spec or is being deleted.
func settled(ctx context.Context, namespace string) error {
	server := &v1alpha1.JupyterServer{}
	if err := suite.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: serverName}, server); err != nil {
		return err
	}
	if server.DeletionTimestamp != nil {
		return expect("state", server.Status.State, v1alpha1.StateTerminating)
	}
	if apiservertest.IsReleased(server) {
		return nil
	}
	return fmt.Errorf("generation %d, status %+v", server.Generation, server.Status)
}

// subjectsOf returns a subject for each write and each fault.
func subjectsOf(t *testing.T, life life, course course, allFaults bool) []*subject {
	t.Helper()
	var out []*subject
	for n := 1; n <= slices.Max(course.writes); n++ {
		for _, f := range faults {
			if f.common || allFaults {
				out = append(out, &subject{life: life, course: course, namespace: newNamespace(t), fault: f, n: n})
			}
		}
	}
	return out
}

// disturb runs the i-th step of all subjects with their faults, and then restarts the operator. It returns the running operator.
func disturb(t *testing.T, traffic *traffic, running *operator, i int, subjects []*subject) *operator {
	t.Helper()
	subjects = slices.DeleteFunc(slices.Clone(subjects), func(s *subject) bool { return i >= len(s.life.steps) })
	step := subjects[0].life.steps[i]
	for _, s := range subjects {
		if s.n <= s.course.writes[i] && !step.smooth {
			traffic.arm(s.namespace, s.fault, s.n)
		}
	}
	each(t, subjects, func(s *subject) error { return s.life.steps[i].do(t.Context(), s.namespace) })
	converge(t, traffic, i, subjects)
	if step.smooth {
		return running
	}
	checkStruck(t, traffic, i, subjects)
	running.stop()
	traffic.disarm()
	before := map[*subject]int{}
	for _, s := range subjects {
		before[s] = len(traffic.writesOf(s.namespace))
	}
	complete := slices.DeleteFunc(slices.Clone(subjects), func(s *subject) bool { return s.rests })
	running = start(t, traffic.over)
	converge(t, traffic, i, subjects)
	for _, s := range complete {
		if again := releaseWrites(traffic.writesOf(s.namespace)[before[s]:]); len(again) > 0 {
			t.Errorf("%s: %v: was complete, but a restart of the operator wrote %v", step.name, s, again)
		}
	}
	switch step.name {
	case "drift":
		checkHelm(t, subjects)
	case "delete":
		collect(t, subjects)
	}
	if step.name != "delete" {
		checkSecrets(t, subjects)
	}
	return running
}

// remaining returns the subjects with a fault in a later step other than the deletion, and deletes the servers of the others. Before
// the deletion it returns all that are left, whose objects are then collected.
func remaining(t *testing.T, subjects []*subject, i int) []*subject {
	t.Helper()
	return slices.DeleteFunc(subjects, func(s *subject) bool {
		last := len(s.course.writes) - 1
		later := s.course.writes[min(i+1, last):last]
		if len(later) == 0 || s.n <= slices.Max(later) {
			return false
		}
		server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: serverName}}
		if err := suite.client.Delete(t.Context(), server); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		return true
	})
}

// converge waits until all subjects have reached the end of a step and nothing is written any more.
func converge(t *testing.T, traffic *traffic, i int, subjects []*subject) {
	t.Helper()
	var namespaces []string
	for _, s := range subjects {
		namespaces = append(namespaces, s.namespace)
	}
	eventually(t, subjects[0].life.steps[i].name, func() error {
		if err := traffic.calm(); err != nil {
			return err
		}
		got, err := snapshots(t.Context(), namespaces...)
		if err != nil {
			return err
		}
		var errs []error
		for _, s := range subjects {
			if s.rests = s.fault.lasts && traffic.struck(s.namespace); s.rests {
				continue
			}
			if err := differences(got[s.namespace], s.course.ends[i]); err != nil {
				errs = append(errs, fmt.Errorf("%v:\n\t%w\n\t%v", s, err, traffic.writesOf(s.namespace)))
			}
		}
		if len(errs) > 4 {
			errs = append(errs[:4], fmt.Errorf("and %d more", len(errs)-4))
		}
		return errors.Join(append(errs, traffic.calm())...)
	})
}

// checkStruck fails if a planned fault was not injected. The number of writes of a step may vary by one or two, because four changes
// are reverted in one turn of the loop or in several.
func checkStruck(t *testing.T, traffic *traffic, i int, subjects []*subject) {
	t.Helper()
	for _, s := range subjects {
		if s.n <= max(1, s.course.writes[i]-2) && !traffic.struck(s.namespace) {
			t.Errorf("%s: %v: there were fewer writes: %v", s.life.steps[i].name, s, traffic.writesOf(s.namespace))
		}
	}
}

// releaseWrites returns the writes other than those of the status, whose message about the missing pod changes with time.
func releaseWrites(writes []string) []string {
	return slices.DeleteFunc(slices.Clone(writes), func(w string) bool { return strings.HasSuffix(w, "/status") })
}

// checkSecrets fails if a generated value has changed, which would end all sessions.
func checkSecrets(t *testing.T, subjects []*subject) {
	t.Helper()
	each(t, subjects, func(s *subject) error {
		secret := &corev1.Secret{}
		if err := suite.client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: serverName + "-jupyter"}, secret); err != nil {
			return err
		}
		for key, value := range s.secrets {
			if string(secret.Data[key]) != string(value) {
				return fmt.Errorf("%v: %s has changed", s, key)
			}
		}
		s.secrets = secret.Data
		return nil
	})
}

// checkHelm checks what stock Helm shows about the first and the last subject.
func checkHelm(t *testing.T, subjects []*subject) {
	t.Helper()
	for _, s := range []*subject{subjects[0], subjects[len(subjects)-1]} {
		var list []struct{ Name, Revision, Status string }
		helm(t, s.namespace, &list, "list", "--all")
		if len(list) != 1 || list[0].Name != serverName || list[0].Revision != "2" || list[0].Status != "deployed" {
			t.Errorf("%v: helm list shows %v", s, list)
		}
		var history []struct {
			Revision int
			Status   string
		}
		helm(t, s.namespace, &history, "history", serverName)
		for i, record := range history {
			want := "superseded"
			if i == 1 {
				want = "deployed"
			}
			if record.Revision != i+1 || record.Status != want || len(history) != 2 {
				t.Errorf("%v: helm history shows %v", s, history)
			}
		}
	}
}

func helm(t *testing.T, namespace string, into any, args ...string) {
	t.Helper()
	out := apiservertest.Helm(t, suite.kubeconfig, namespace, append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("helm %v: %v: %s", args, err, out)
	}
}

// collect acts as the garbage collector for servers that are being deleted. It fails if an object other than an orphaned claim is
// left, or is created again.
func collect(t *testing.T, subjects []*subject) {
	t.Helper()
	each(t, subjects, func(s *subject) error {
		server := &v1alpha1.JupyterServer{}
		key := client.ObjectKey{Namespace: s.namespace, Name: serverName}
		if err := suite.client.Get(t.Context(), key, server); err != nil {
			return err
		}
		if err := collectObjects(t.Context(), s.namespace, server.UID); err != nil {
			return err
		}
		noFinalizers := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		return suite.client.Patch(t.Context(), server, noFinalizers)
	})
	time.Sleep(time.Second) // for objects that would be created again
	each(t, subjects, func(s *subject) error {
		left, err := created(t.Context(), client.InNamespace(s.namespace))
		for i := range left {
			if o := &left[i]; o.GetKind() != "PersistentVolumeClaim" || len(o.GetOwnerReferences()) > 0 {
				err = errors.Join(err, fmt.Errorf("%v: %s %s is left", s, o.GetKind(), o.GetName()))
			}
		}
		return err
	})
}

// collectObjects deletes the objects of an owner.
func collectObjects(ctx context.Context, namespace string, owner types.UID) error {
	objects, err := created(ctx, client.InNamespace(namespace))
	if err != nil {
		return err
	}
	for i := range objects {
		o := &objects[i]
		if !slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == owner }) {
			continue
		}
		if len(o.GetFinalizers()) > 0 { // a claim is protected while a pod uses it, but there is no pod
			o.SetFinalizers(nil)
			if err := suite.client.Update(ctx, o, client.FieldOwner("collector")); err != nil {
				return err
			}
		}
		if err := client.IgnoreNotFound(suite.client.Delete(ctx, o)); err != nil {
			return err
		}
	}
	return nil
}
