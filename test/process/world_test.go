// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// timeout bounds waits that take a second on an idle machine.
const timeout = 2 * time.Minute

// world is the namespaces of one test, with helpers to change and check them.
type world struct {
	*testing.T
	ctx        context.Context
	namespaces []string
	namespace  string // the first
}

func newWorld(t *testing.T, namespaces int) *world {
	t.Helper()
	w := &world{T: t, ctx: t.Context()}
	for range namespaces {
		w.namespaces = append(w.namespaces, apiservertest.NewNamespace(t, suite.client))
	}
	w.namespace = w.namespaces[0]
	return w
}

// names returns the names of n servers.
func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("user%02d", i)
	}
	return out
}

// create creates a server from a minimal manifest.
func (w *world) create(namespace, name string, labels map[string]string) {
	w.Helper()
	w.createWith(namespace, name, labels, nil)
}

func (w *world) createWith(namespace, name string, labels map[string]string, spec map[string]any) {
	w.Helper()
	if spec == nil {
		spec = map[string]any{}
	}
	server := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	for field, value := range map[string]string{"host": namespace + ".localhost", "path": "/" + name} { // routes must be unique
		if _, found, _ := unstructured.NestedString(server.Object, "spec", "routing", field); found && field == "path" {
			continue
		}
		if err := unstructured.SetNestedField(server.Object, value, "spec", "routing", field); err != nil {
			w.Fatal(err)
		}
	}
	server.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
	server.SetNamespace(namespace)
	server.SetName(name)
	server.SetLabels(labels)
	if err := suite.client.Create(w.ctx, server); err != nil {
		w.Fatalf("creating %s: %v", name, err)
	}
}

// patch merges JSON into an object of the first namespace.
func (w *world) patch(object client.Object, name, patch string) {
	w.Helper()
	object.SetNamespace(w.namespace)
	object.SetName(name)
	if err := suite.client.Patch(w.ctx, object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.Fatalf("changing %T %s: %v", object, name, err)
	}
}

func (w *world) remove(object client.Object, name string) {
	w.Helper()
	object.SetNamespace(w.namespace)
	object.SetName(name)
	if err := suite.client.Delete(w.ctx, object); err != nil {
		w.Fatalf("deleting %T %s: %v", object, name, err)
	}
}

func (w *world) get(object client.Object, name string) error {
	return suite.client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, object)
}

func (w *world) change(name, patch string) {
	w.Helper()
	w.patch(&v1alpha1.JupyterServer{}, name, patch)
}

// eventually retries until it succeeds, and fails with the last error.
func (w *world) eventually(what string, try func() error) {
	w.Helper()
	apiservertest.Eventually(w.T, what, timeout, try)
}

// released waits until the current specs of all servers of a namespace, or of the given ones, are released.
func (w *world) released(namespace string, servers ...string) {
	w.Helper()
	w.eventually("releasing the servers", func() error {
		var list v1alpha1.JupyterServerList
		if err := suite.client.List(w.ctx, &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if s := &list.Items[i]; (len(servers) == 0 || slices.Contains(servers, s.Name)) && !apiservertest.IsReleased(s) {
				return fmt.Errorf("%s: generation %d, status %+v", s.Name, s.Generation, s.Status)
			}
		}
		return nil
	})
}

// stalled waits until a server is blocked with a reason.
func (w *world) stalled(name, reason string) {
	w.Helper()
	w.eventually("stalling with "+reason, func() error {
		server := &v1alpha1.JupyterServer{}
		if err := w.get(server, name); err != nil {
			return err
		}
		if is := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionStalled); is == nil || is.Status != metav1.ConditionTrue || is.Reason != reason {
			return fmt.Errorf("the status is %+v", server.Status)
		}
		return nil
	})
}

// waitIdle waits until no operator has written to a namespace for some seconds, and returns the number of writes.
func (w *world) waitIdle(namespace string) int {
	w.Helper()
	last, since := -1, time.Now()
	w.eventually("becoming idle", func() error {
		if now := len(suite.audit.of(w.T, namespace, toServers)); now != last {
			last, since = now, time.Now()
		}
		if calm := time.Since(since); calm < 3*time.Second {
			return fmt.Errorf("%d writes, the last one %s ago", last, calm)
		}
		return nil
	})
	return last
}

// kinds are the kinds of a server, its objects, its Secret and its release records.
var kinds = []schema.GroupVersionKind{
	v1alpha1.GroupVersion.WithKind(v1alpha1.Kind),
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Version: "v1", Kind: "PersistentVolumeClaim"},
	{Version: "v1", Kind: "Service"},
	{Version: "v1", Kind: "Secret"},
	{Version: "v1", Kind: "ConfigMap"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
}

// objects returns all objects of servers in a namespace, by kind and name.
func (w *world) objects(namespace string) map[string]*unstructured.Unstructured {
	w.Helper()
	out := map[string]*unstructured.Unstructured{}
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := suite.client.List(w.ctx, list, client.InNamespace(namespace)); err != nil {
			w.Fatalf("listing %s: %v", kind.Kind, err)
		}
		for i := range list.Items {
			out[kind.Kind+" "+list.Items[i].GetName()] = &list.Items[i]
		}
	}
	return out
}

// versions returns the resource versions of all objects, which any write changes.
func (w *world) versions(namespace string) map[string]string {
	w.Helper()
	out := map[string]string{}
	for key, object := range w.objects(namespace) {
		out[key] = object.GetResourceVersion()
	}
	return out
}

// unchanged fails if an object was written since versions was called.
func (w *world) unchanged(namespace string, before map[string]string) {
	w.Helper()
	after := w.versions(namespace)
	for key, version := range after {
		if before[key] != version {
			w.Errorf("%s was written", key)
		}
	}
	for key := range before {
		if after[key] == "" {
			w.Errorf("%s is gone", key)
		}
	}
}

const recordPrefix = "Secret sh.helm.release.v1."

// releasesSound waits until all releases of a namespace are sound. The operator reviews release records some time after reverting
// drift.
func (w *world) releasesSound(namespace string) {
	w.Helper()
	w.eventually("the releases become sound", func() error { return w.checkReleases(namespace) })
}

// checkReleases returns the errors in the releases of a namespace: only the newest record of each is deployed, none is pending, and
// every object has a server as owner, so that it is garbage-collected.
func (w *world) checkReleases(namespace string) error {
	w.Helper()
	objects := w.objects(namespace)
	owners := map[types.UID]string{}
	for _, object := range objects {
		if object.GetKind() == v1alpha1.Kind {
			if _, found, _ := unstructured.NestedMap(object.Object, "status", "release"); found {
				owners[object.GetUID()] = object.GetName()
			}
		}
	}
	var errs []error
	records := map[string]map[int]string{}
	for key, object := range objects {
		if object.GetKind() == v1alpha1.Kind {
			continue
		}
		refs := object.GetOwnerReferences()
		if len(refs) != 1 || owners[refs[0].UID] == "" {
			errs = append(errs, fmt.Errorf("%s is an orphan: %v", key, refs))
			continue
		}
		if !strings.HasPrefix(key, recordPrefix) {
			continue
		}
		server, labels := owners[refs[0].UID], object.GetLabels()
		revision, err := strconv.Atoi(labels["version"])
		if err != nil || labels["name"] != server {
			errs = append(errs, fmt.Errorf("%s has the labels %v", key, labels))
		}
		if records[server] == nil {
			records[server] = map[int]string{}
		}
		records[server][revision] = labels["status"]
	}
	for _, server := range owners {
		if !isSound(records[server]) {
			errs = append(errs, fmt.Errorf("the revisions of the release %s are %v", server, records[server]))
		}
	}
	return errors.Join(errs...)
}

// isSound reports whether only the newest revision is deployed and none is pending.
func isSound(revisions map[int]string) bool {
	if len(revisions) == 0 {
		return false
	}
	newest := slices.Max(slices.Collect(maps.Keys(revisions)))
	for revision, status := range revisions {
		if (status == "deployed") != (revision == newest) || strings.HasPrefix(status, "pending") {
			return false
		}
	}
	return true
}

// equalsFresh fails if the objects of the servers of a namespace differ from those of equal servers in another one.
func (w *world) equalsFresh(namespace, fresh string) {
	w.Helper()
	got, want := w.comparable(namespace), w.comparable(fresh)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			w.Errorf("%s differs from that of a fresh install: %s", key, firstDifference(got[key], want[key]))
		}
	}
	for key := range got {
		if want[key] == "" {
			w.Errorf("a fresh install has no %s", key)
		}
	}
}

// comparable returns the objects as JSON without the fields that differ between namespaces.
func (w *world) comparable(namespace string) map[string]string {
	w.Helper()
	out := map[string]string{}
	for key, object := range w.objects(namespace) {
		if object.GetKind() == "Secret" || object.GetKind() == v1alpha1.Kind {
			continue // generated values are kept, whatever the specs in between
		}
		for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences"} {
			unstructured.RemoveNestedField(object.Object, "metadata", field)
		}
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations", "jupyterserver.dev/applied") // a digest of the rest
		unstructured.RemoveNestedField(object.Object, "status")
		for _, field := range []string{"clusterIP", "clusterIPs"} {
			unstructured.RemoveNestedField(object.Object, "spec", field)
		}
		raw, err := json.MarshalIndent(object.Object, "", " ")
		if err != nil {
			w.Fatal(err)
		}
		out[key] = digests.ReplaceAllString(strings.ReplaceAll(string(raw), namespace, "NAMESPACE"), "DIGEST")
	}
	return out
}

// digests matches digests of secrets and of the namespace's name, and names of cookies.
var digests = regexp.MustCompile(`js-[0-9a-f]{16}|\b[0-9a-f]{32,64}\b`)

func firstDifference(got, want string) string {
	if got == "" {
		return "missing"
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("line %d is\n%s\nbut in a fresh install\n%s", i+1, a[i], b[min(i, len(b)-1)])
		}
	}
	return "shorter"
}

// tokens returns the generated tokens of servers that have one.
func (w *world) tokens(servers []string) map[string]string {
	w.Helper()
	objects, out := w.objects(w.namespace), map[string]string{}
	for _, server := range servers {
		secret := objects["Secret "+server+"-jupyter"]
		if secret == nil {
			continue
		}
		token, _, err := unstructured.NestedString(secret.Object, "data", "token")
		if err != nil || token == "" {
			w.Errorf("the Secret of %s has no token: %v", server, err)
		}
		out[server] = token
	}
	return out
}
