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

// change turns an object, as JSON, into what it is to be. It keeps its argument.
type change func(object []byte) ([]byte, error)

// newChange reads a patch.
func newChange(patch v1alpha1.Patch) (change, error) {
	switch patch.Type {
	case v1alpha1.PatchTypeJSON, v1alpha1.PatchTypeMerge, v1alpha1.PatchTypeStrategic, "":
	default:
		return nil, fmt.Errorf("type is %q, but must be json, merge or strategic", patch.Type)
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
		return nil, errors.New("patch must be a list of operations, as type is json (RFC 6902)")
	}
	if patch.Type != v1alpha1.PatchTypeJSON && text[0] != '{' {
		return nil, errors.New("patch must be an object, as type is not json")
	}
	return text, nil
}

// jsonPatch is RFC 6902. As in Kubernetes, an index may count from the end, and a test for null passes where nothing is.
func jsonPatch(text []byte) (change, error) {
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

// mergePatch is RFC 7386. evanphx/json-patch also removes null fields of objects inside of lists (merge.go, pruneAryNulls);
// the RFC takes lists as they are.
func mergePatch(text []byte) (change, error) {
	return func(object []byte) ([]byte, error) {
		target, err := unmarshal(object)
		if err != nil {
			return nil, err
		}
		patch, err := unmarshal(text) // anew, because the result holds parts of it
		if err != nil {
			return nil, err
		}
		return marshal(merge(target, patch))
	}, nil
}

// merge is MergePatch of RFC 7386, section 2.
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

// strategicPatch is Kubernetes' strategic merge, with the merge keys that client-go's types carry in their tags. The
// operator holds those types anyway: patching adds 14 KiB of live heap and 71 us. kyaml's merge2 parses its embedded
// OpenAPI for 3.6 MiB of live heap and 8.6 MiB at the peak, takes 256 us, and has merge rules of its own.
func strategicPatch(text []byte) change {
	return func(object []byte) ([]byte, error) {
		id, err := identityOf(object)
		if err != nil {
			return nil, err
		}
		typed, err := scheme.Scheme.New(schema.FromAPIVersionAndKind(id.APIVersion, id.Kind))
		if err != nil {
			return nil, fmt.Errorf("type strategic does not know %s %s: use merge or json", id.APIVersion, id.Kind)
		}
		target, err := unmarshalObject(object)
		if err != nil {
			return nil, err
		}
		patch, err := unmarshalObject(text) // anew, because the merge changes it
		if err != nil {
			return nil, err
		}
		if entries(target)+entries(patch) > maxEntries {
			return nil, fmt.Errorf("type strategic takes lists of up to %d entries, in the object and the patch together: use merge or json", maxEntries)
		}
		after, err := strategicpatch.StrategicMergeMapPatch(target, patch, typed)
		if err != nil {
			return nil, withoutContent(err)
		}
		return marshal(after)
	}
}

// maxEntries limits the lists of a strategic merge, whose time grows with the square of their length and more
// (strategicpatch/patch.go, normalizeSliceOrder): four patches of 64 KiB took 23 s.
const maxEntries = 1000

// entries counts what the lists in a value hold.
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

// withoutContent cuts what a library quotes of a patch or an object: it may be a secret, and errors end in a status.
func withoutContent(err error) error {
	return inOneLine(errors.New(content.ReplaceAllString(err.Error(), "{...}")))
}

// unmarshal keeps integers, which encoding/json makes floats.
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
