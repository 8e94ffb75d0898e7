// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// step is something that happens to a server, and that the operator answers with writes.
type step struct {
	name string
	do   func(ctx context.Context, namespace string) error
	// smooth says that nothing goes wrong in this one: it only leads to the next.
	smooth bool
}

// life is what happens to one server, from its creation to its end.
type life struct {
	name  string
	steps []step
}

// lives have objects of all kinds made, changed, edited, deleted, pruned and let go of. A server that runs is looked at again and
// again, because no pod ever comes: so most happens to one that is suspended.
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
				s.Spec.Storage.Ephemeral, s.Spec.Storage.Retain = true, true // lets go of the claim
			})},
			remove,
		}},
	}
}

func tokenServer(namespace string) *v1alpha1.JupyterServer {
	s := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Name: serverName, Namespace: namespace}}
	s.Spec.Routing.Host = namespace + ".localhost" // two servers on one route are refused
	return s
}

func oidcServer(namespace string) *v1alpha1.JupyterServer {
	s := tokenServer(namespace)
	s.Spec.Auth.Mode = v1alpha1.AuthModeOIDC
	s.Spec.Auth.OIDC = &v1alpha1.OIDC{IssuerURL: "https://id.example.org", ClientID: "x", Allow: v1alpha1.Allow{Users: []string{"u"}}}
	return s
}

// create sends only what is set, as a person would: the zero values of Go are not a person's.
func create(server func(namespace string) *v1alpha1.JupyterServer) func(context.Context, string) error {
	return func(ctx context.Context, namespace string) error {
		raw, err := json.Marshal(server(namespace))
		if err != nil {
			return err
		}
		content := map[string]any{}
		if err := utiljson.Unmarshal(raw, &content); err != nil {
			return err
		}
		delete(content, "status")
		dropZero(content)
		o := &unstructured.Unstructured{Object: content}
		o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
		return suite.client.Create(ctx, o)
	}
}

func dropZero(m map[string]any) {
	for key, value := range m {
		if child, ok := value.(map[string]any); ok {
			dropZero(child)
			value = len(child) > 0
		}
		if value == nil || value == "" || value == false {
			delete(m, key)
		}
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

// drift edits two objects and deletes two, and a ConfigMap where there is one.
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

// removeServer deletes a server, which stays until its objects are gone.
func removeServer(ctx context.Context, namespace string) error {
	server := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serverName}}
	return suite.client.Delete(ctx, server, client.PropagationPolicy(metav1.DeletePropagationForeground))
}

// subject is the server of one namespace, on which one fault strikes at the n-th write of every step.
type subject struct {
	life      life
	course    course
	namespace string
	fault     fault
	n         int
	// secrets is what was generated for the server, and must never change.
	secrets map[string][]byte
	// rests says that in this step the operator does nothing more for the server until it is started again.
	rests bool
}

func (s *subject) String() string {
	return fmt.Sprintf("%s: write %d %s (%s)", s.life.name, s.n, s.fault.name, s.namespace)
}

// course is the life of a server to which nothing happens: what others must come to as well.
type course struct {
	ends   []snapshot // after each step
	writes []int      // in each step
}

// TestFaultAtEveryWrite lets every write of every step in the life of a server go wrong in every way, and then starts the operator
// again: it comes to the same end each time.
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
		subjects = goOn(t, subjects, i)
	}
}

// undisturbed goes through a life in which nothing goes wrong.
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
		end, err := look(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		out.ends = append(out.ends, end[namespace])
		out.writes = append(out.writes, len(traffic.writesOf(namespace))-before)
	}
	return out
}

// checkCourse makes sure that what others are compared with is right: what drifts comes back, and what is rendered no more goes.
func checkCourse(t *testing.T, course course) {
	t.Helper()
	const suspended, drifted, upgraded = 1, 2, 3
	if err := differences(course.ends[drifted], course.ends[suspended]); err != nil {
		t.Errorf("what drifted did not come back: %v", err)
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

// settled says whether a server is as its spec says, or goes.
func settled(ctx context.Context, namespace string) error {
	server := &v1alpha1.JupyterServer{}
	if err := suite.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: serverName}, server); err != nil {
		return err
	}
	if server.DeletionTimestamp != nil {
		return expect("state", server.Status.State, v1alpha1.StateTerminating)
	}
	for _, condition := range server.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReleased && condition.ObservedGeneration == server.Generation && condition.Status == metav1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("generation %d, status %+v", server.Generation, server.Status)
}

// subjectsOf makes a subject for every write and every fault.
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

// disturb has all subjects take their i-th step, in which something goes wrong, and starts the operator again. It returns the new
// one.
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
	come(t, traffic, i, subjects)
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
	inOrder := slices.DeleteFunc(slices.Clone(subjects), func(s *subject) bool { return s.rests })
	running = start(t, traffic.over)
	come(t, traffic, i, subjects)
	for _, s := range inOrder {
		if again := releaseWrites(traffic.writesOf(s.namespace)[before[s]:]); len(again) > 0 {
			t.Errorf("%s: %v: was in order, and after the start of another operator came %v", step.name, s, again)
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

// goOn leaves out the subjects for which nothing is to go wrong any more. Those that come far enough are all there at the end, when
// their objects are collected.
func goOn(t *testing.T, subjects []*subject, i int) []*subject {
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

// come waits until all subjects have come to the end of a step, and nothing more is written.
func come(t *testing.T, traffic *traffic, i int, subjects []*subject) {
	t.Helper()
	var namespaces []string
	for _, s := range subjects {
		namespaces = append(namespaces, s.namespace)
	}
	eventually(t, subjects[0].life.steps[i].name, func() error {
		if err := traffic.calm(); err != nil {
			return err
		}
		got, err := look(t.Context(), namespaces...)
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

// checkStruck makes sure that what was to go wrong went wrong. The number of a step's writes may vary by one or two: what
// somebody does in four steps is put back in one turn of the loop or in several.
func checkStruck(t *testing.T, traffic *traffic, i int, subjects []*subject) {
	t.Helper()
	for _, s := range subjects {
		if s.n <= max(1, s.course.writes[i]-2) && !traffic.struck(s.namespace) {
			t.Errorf("%s: %v: there were fewer writes: %v", s.life.steps[i].name, s, traffic.writesOf(s.namespace))
		}
	}
}

// releaseWrites leaves out those of the status, which tells of a pod that does not come in other words as time goes by.
func releaseWrites(writes []string) []string {
	return slices.DeleteFunc(slices.Clone(writes), func(w string) bool { return strings.HasSuffix(w, "/status") })
}

// checkSecrets makes sure that nothing that was generated is made anew: it would sign everybody out.
func checkSecrets(t *testing.T, subjects []*subject) {
	t.Helper()
	each(t, subjects, func(s *subject) error {
		secret := &corev1.Secret{}
		if err := suite.client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: serverName + "-jupyter"}, secret); err != nil {
			return err
		}
		for key, value := range s.secrets {
			if string(secret.Data[key]) != string(value) {
				return fmt.Errorf("%v: %s was made anew", s, key)
			}
		}
		s.secrets = secret.Data
		return nil
	})
}

// checkHelm asks the stock Helm about the first and the last subject.
func checkHelm(t *testing.T, subjects []*subject) {
	t.Helper()
	for _, s := range []*subject{subjects[0], subjects[len(subjects)-1]} {
		var list []struct{ Name, Revision, Status string }
		helm(t, s.namespace, &list, "list", "--all")
		if len(list) != 1 || list[0].Name != serverName || list[0].Revision != "2" || list[0].Status != "deployed" {
			t.Errorf("%v: helm list says %v", s, list)
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
				t.Errorf("%v: helm history says %v", s, history)
			}
		}
	}
}

func helm(t *testing.T, namespace string, into any, args ...string) {
	t.Helper()
	args = append(args, "--kubeconfig", suite.kubeconfig, "--namespace", namespace, "--output", "json")
	out, err := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm"), args...).Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("helm %v: %v: %s", args, err, out)
	}
}

// collect plays the garbage collector for servers that are being deleted, and makes sure that it leaves nothing behind but
// claims that were let go, and that nothing is made again.
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
	time.Sleep(time.Second) // for what would be made again
	each(t, subjects, func(s *subject) error {
		left, err := made(t.Context(), client.InNamespace(s.namespace))
		for i := range left {
			if o := &left[i]; o.GetKind() != "PersistentVolumeClaim" || len(o.GetOwnerReferences()) > 0 {
				err = errors.Join(err, fmt.Errorf("%v: %s %s is left", s, o.GetKind(), o.GetName()))
			}
		}
		return err
	})
}

// collectObjects deletes what a server owns.
func collectObjects(ctx context.Context, namespace string, owner types.UID) error {
	objects, err := made(ctx, client.InNamespace(namespace))
	if err != nil {
		return err
	}
	for i := range objects {
		o := &objects[i]
		if !slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == owner }) {
			continue
		}
		if len(o.GetFinalizers()) > 0 { // a claim is protected while a pod uses it: there is no pod
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
