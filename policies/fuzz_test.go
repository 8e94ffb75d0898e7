// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// FuzzEvaluate merges a patch into one of the rendered objects of a server and checks that the evaluation does not panic, that an
// error has no result, that the result is deterministic and that a changed configuration of the access control is denied.
func FuzzEvaluate(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"kind": 1}`, `{"metadata": null}`, `{"metadata": {"name": ["a"]}}`, `{"spec": null}`, `{"spec": {"ports": {}}}`,
		`{"spec": {"template": {"spec": {"containers": "x"}}}}`, `{"spec": {"template": {"spec": {"containers": [null, 1, {}]}}}}`,
		`{"spec": {"template": {"spec": {"initContainers": null}}}}`, `{"spec": {"template": {"spec": {"volumes": [{"name": 1}]}}}}`,
		`{"spec": {"template": {"spec": {"securityContext": {"seccompProfile": null, "sysctls": [1]}}}}}`,
		`{"spec": {"rules": [{"host": 1, "http": {"paths": [{"path": {}}]}}]}}`, `{"spec": {"template": {"spec": {"hostNetwork": "x"}}}}`,
		`{"spec": {"template": {"spec": {"automountServiceAccountToken": null}}}}`, `{"data": {"routes.yaml": 1e400}}`,
	} {
		f.Add(seed, uint8(len(seed)))
	}
	evaluator := newEvaluator(f, "rules: {pod-security: {level: restricted}, storage-bounds: {maxSize: 1Gi, classes: [a]}, resources-bounds: {maxCPU: '1'}}")
	base := input(f, read(f, oidcServer))
	f.Fuzz(func(t *testing.T, patch string, match uint8) {
		in := base
		in.Objects = slices.Clone(base.Objects)
		i := int(match) % len(in.Objects)
		before, err := json.Marshal(in.Objects[i].Object)
		if err != nil {
			t.Fatal(err)
		}
		after, err := jsonpatch.MergePatch(before, []byte(patch))
		if err != nil {
			return // not an object
		}
		changed := &unstructured.Unstructured{}
		if err := utiljson.Unmarshal(after, &changed.Object); err != nil {
			return // not an object
		}
		in.Objects[i] = changed
		result, err := evaluator.Evaluate(t.Context(), in)
		if evaluationErr := (*policies.EvaluationError)(nil); err != nil && (!errors.As(err, &evaluationErr) || len(result.Verdicts) > 0) {
			t.Fatalf("%+v, %T: %v", result, err, err)
		}
		again, errAgain := evaluator.Evaluate(t.Context(), in)
		if !reflect.DeepEqual(result, again) || (err == nil) != (errAgain == nil) {
			t.Fatalf("%+v and %+v", result, again)
		}
		if kind := base.Objects[i].GetKind(); kind == "ConfigMap" && err == nil && !result.Denied() && !reflect.DeepEqual(changed.Object["data"], base.Objects[i].Object["data"]) {
			t.Fatalf("a changed configuration is allowed: %s", after)
		}
	})
}

func TestConcurrentEvaluationsAreEqual(t *testing.T) {
	evaluator := newEvaluator(t, "rules: {pod-security: {level: restricted}, image-tags: {forbidden: [latest]}}")
	in := input(t, read(t, oidcServer))
	want, err := evaluator.Evaluate(t.Context(), in)
	if err != nil || !want.Denied() {
		t.Fatalf("%+v, %v", want, err)
	}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 10 {
				if got, err := evaluator.Evaluate(t.Context(), in); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%+v, %v", got, err)
				}
			}
		})
	}
	group.Wait()
}
