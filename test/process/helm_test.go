// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// Stock Helm shows a consistent release: its manifest is the chart's output for its values, and its objects exist.
func TestHelmShowsTheRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.operator()
	w.createWith(w.namespace, "alice", nil, map[string]any{"jupyterServer": map[string]any{"defaultUrl": "/tree"}})
	w.released(w.namespace)

	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(w.helm("get", "values", "alice", "--output", "yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	manifest := parse(t, w.helm("get", "manifest", "alice"))
	fresh := parse(t, w.helm("template", "alice", "../../chart-jupyter-server", "--values", values, "--kube-version", "1.37.2"))
	if len(manifest) < 5 || !reflect.DeepEqual(manifest, fresh) {
		t.Errorf("helm get manifest returns\n%v\nbut the chart renders helm get values to\n%v", manifest, fresh)
	}
	there := w.objects(w.namespace)
	for key := range manifest {
		if there[key] == nil {
			t.Errorf("the manifest has %s, which the cluster lacks", key)
		}
	}
}

// The operator is killed before it has checked the records that Helm changed. The check is not persisted, so the next change of the
// spec repairs them.
func TestRecordsAreRepairedAfterHelmAndKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	o := w.operator()
	w.create(w.namespace, "alice", nil)
	w.released(w.namespace)
	w.helm("uninstall", "alice")
	w.eventually("the objects are restored", func() error { return w.get(&appsv1.StatefulSet{}, "alice") })
	o.kill()
	if list := w.helm("list", "--short"); list != "" {
		t.Fatalf("the records were checked before: %s", list)
	}
	o.start()
	w.change("alice", `{"spec":{"jupyterServer":{"image":"example.org/another:1"}}}`)
	w.eventually("the release is recorded again", func() error {
		if list := w.helm("list"); !strings.Contains(list, "deployed") {
			return errors.New(list)
		}
		return nil
	})
}

func (w *world) helm(args ...string) string {
	w.Helper()
	return apiservertest.Helm(w.T, suite.kubeconfig, w.namespace, args...)
}

// parse returns the objects of a manifest by kind and name.
func parse(t *testing.T, manifest string) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		object := unstructured.Unstructured{}
		err := documents.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if object.Object != nil {
			out[object.GetKind()+" "+object.GetName()] = object.Object
		}
	}
}
