// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// patchFunc returns the patched object, as JSON. It does not modify its argument.
type patchFunc func(object []byte) ([]byte, error)

// newPatchFunc decodes a patch.
func newPatchFunc(patch v1alpha1.Patch) (patchFunc, error) {
	switch patch.Type {
	case v1alpha1.PatchTypeJSON, v1alpha1.PatchTypeMerge, v1alpha1.PatchTypeStrategic, "":
	default:
		return nil, fmt.Errorf("type %q is invalid: use json, merge or strategic", patch.Type)
	}
	text, err := patchText(patch)
	if err != nil {
		return nil, err
	}
	switch patch.Type {
	case v1alpha1.PatchTypeJSON:
		return jsonPatch(text)
	case v1alpha1.PatchTypeMerge:
		return mergePatch(text)
	default:
		return strategicPatch(text), nil
	}
}

// patchText returns a patch as JSON: a list for a json patch, an object for the others.
func patchText(patch v1alpha1.Patch) ([]byte, error) {
	if _, err := parseYAML([]byte(patch.Patch)); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	text, err := toJSONStrict([]byte(patch.Patch))
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	switch string(text) {
	case "null", "{}", "[]", `""`:
		return nil, errors.New("patch is empty")
	}
	if patch.Type == v1alpha1.PatchTypeJSON && text[0] != '[' {
		return nil, errors.New("patch must be a list of operations because type is json (RFC 6902)")
	}
	if patch.Type != v1alpha1.PatchTypeJSON && text[0] != '{' {
		return nil, errors.New("patch must be an object because type is not json")
	}
	return text, nil
}

// jsonPatch implements RFC 6902. As in Kubernetes, an index may count from the end, and a test for null passes on a missing
// value.
func jsonPatch(text []byte) (patchFunc, error) {
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, withoutContent(err)
	}
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxGrowth
	return func(object []byte) ([]byte, error) {
		after, err := patch.ApplyWithOptions(object, options)
		if err != nil {
			return nil, withoutContent(err)
		}
		return after, nil
	}, nil
}

// mergePatch implements RFC 7386. evanphx/json-patch would also remove null fields of objects inside lists (merge.go,
// pruneAryNulls); the RFC does not change lists.
func mergePatch(text []byte) (patchFunc, error) {
	return func(object []byte) ([]byte, error) {
		target, err := unmarshal(object)
		if err != nil {
			return nil, err
		}
		patch, err := unmarshal(text) // decoded per object, because the result shares parts of it
		if err != nil {
			return nil, err
		}
		return marshal(merge(target, patch))
	}, nil
}

// merge implements MergePatch of RFC 7386, section 2.
func merge(target, patch any) any {
	fields, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range fields {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = merge(object[name], value)
	}
	return object
}

// strategicPatch implements Kubernetes' strategic merge with the merge keys in the struct tags of client-go's types. The
// operator loads those types anyway, so that patching adds 14 KiB of live heap and 71 us. kyaml's merge2 parses its embedded
// OpenAPI for 3.6 MiB of live heap and 8.6 MiB at the peak, takes 256 us, and has different merge rules.
func strategicPatch(text []byte) patchFunc {
	return func(object []byte) ([]byte, error) {
		id, err := identityOf(object)
		if err != nil {
			return nil, err
		}
		typed, err := scheme.Scheme.New(schema.FromAPIVersionAndKind(id.APIVersion, id.Kind))
		if err != nil {
			return nil, fmt.Errorf("type strategic does not support %s %s: use merge or json", id.APIVersion, id.Kind)
		}
		target, err := unmarshalObject(object)
		if err != nil {
			return nil, err
		}
		patch, err := unmarshalObject(text) // decoded per object, because the merge modifies it
		if err != nil {
			return nil, err
		}
		if entries(target)+entries(patch) > maxEntries {
			return nil, fmt.Errorf("type strategic supports up to %d list entries in the object and the patch together: use merge or json", maxEntries)
		}
		after, err := strategicpatch.StrategicMergeMapPatch(target, patch, typed)
		if err != nil {
			return nil, withoutContent(err)
		}
		return marshal(after)
	}
}

// maxEntries limits the lists of a strategic merge, whose time grows at least quadratically with their length
// (strategicpatch/patch.go, normalizeSliceOrder): four patches of 64 KiB took 23 s.
const maxEntries = 1000

// entries counts the list entries in a value.
func entries(value any) int {
	count := 0
	switch value := value.(type) {
	case map[string]any:
		for _, field := range value {
			count += entries(field)
		}
	case []any:
		count = len(value)
		for _, entry := range value {
			count += entries(entry)
		}
	}
	return count
}

var content = regexp.MustCompile(`(?s)(map)?[\[{].*[\]}]`)

// withoutContent removes values that a library quotes from a patch or an object: they may be secrets, and errors end up in a
// status.
func withoutContent(err error) error {
	return inOneLine(errors.New(content.ReplaceAllString(err.Error(), "{...}")))
}

// unmarshal keeps integers, which encoding/json turns into floats.
func unmarshal(text []byte) (any, error) {
	var value any
	err := kjson.UnmarshalCaseSensitivePreserveInts(text, &value)
	return value, err
}

func unmarshalObject(text []byte) (map[string]any, error) {
	var object map[string]any
	err := kjson.UnmarshalCaseSensitivePreserveInts(text, &object)
	return object, err
}

func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}
