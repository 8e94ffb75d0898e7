// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const patchesKind = "Patches"

// PatchError names the patch that failed. Its text is one line for the author of the patch and quotes no value of the patch or
// the object.
type PatchError struct {
	// Index is the position of the patch in spec.patches, from 0.
	Index int
	// Target is the object that the patch failed on, or the target of the patch if no object is known.
	Target v1alpha1.PatchTarget
	// Err is the reason.
	Err error
}

// Error implements error.
func (e *PatchError) Error() string {
	target := strings.TrimSuffix(e.Target.Kind+" "+e.Target.Name, " ")
	if target != "" {
		target = " for " + target
	}
	return fmt.Sprintf("spec.patches[%d]%s: %v", e.Index, target, e.Err)
}

// Unwrap returns the reason.
func (e *PatchError) Unwrap() error { return e.Err }

// applyPatches is the step that removes the Patches object and applies its patches.
func applyPatches(documents []*document) ([]*document, error) {
	patches, documents, err := takePatches(documents)
	if err != nil {
		return nil, err
	}
	for i, patch := range patches {
		apply, err := newPatchFunc(patch)
		if err != nil {
			return nil, &PatchError{Index: i, Target: patch.Target, Err: err}
		}
		targets := match(documents, patch.Target)
		if len(targets) == 0 {
			return nil, &PatchError{Index: i, Target: patch.Target, Err: noMatch(documents)}
		}
		for _, d := range targets {
			if err := d.patch(apply); err != nil {
				target := v1alpha1.PatchTarget{Kind: patch.Target.Kind, Name: d.name()}
				return nil, &PatchError{Index: i, Target: target, Err: err}
			}
		}
	}
	return documents, nil
}

// takePatches returns the patches and the documents without the Patches object.
func takePatches(documents []*document) ([]v1alpha1.Patch, []*document, error) {
	found, others, err := takeOne(documents, patchesKind)
	if found == nil || err != nil {
		return nil, others, err
	}
	patches, err := found.decodePatches()
	return patches, others, err
}

// decodePatches decodes a Patches object.
func (d *document) decodePatches() ([]v1alpha1.Patch, error) {
	var object struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   any    `json:"metadata"`
		Spec       struct {
			Patches []any `json:"patches"`
		} `json:"spec"`
	}
	text, err := toJSONStrict(d.body())
	if err == nil {
		err = unmarshalStrict(text, &object)
	}
	if err != nil {
		return nil, fmt.Errorf("document %d of the manifest, a Patches object: %w", d.number, err)
	}
	patches := make([]v1alpha1.Patch, len(object.Spec.Patches))
	for i, entry := range object.Spec.Patches {
		text, err := marshal(entry)
		if err == nil {
			err = unmarshalStrict(text, &patches[i])
		}
		if err == nil && patches[i].Target.Kind == "" {
			err = errors.New("target.kind is missing")
		}
		if err != nil {
			return nil, &PatchError{Index: i, Target: patches[i].Target, Err: err}
		}
	}
	return patches, nil
}

// unmarshalStrict rejects unknown fields and fields in another case, which encoding/json accepts.
func unmarshalStrict(text []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(text, into)
	if err != nil {
		return err
	}
	return inOneLine(errors.Join(strict...))
}

// match returns the objects that a target selects.
func match(documents []*document, target v1alpha1.PatchTarget) []*document {
	var matched []*document
	for _, d := range documents {
		if d.kind() == target.Kind && (target.Name == "" || target.Name == d.name()) {
			matched = append(matched, d)
		}
	}
	return matched
}

// noMatch returns an error that lists the objects a target could select.
func noMatch(documents []*document) error {
	var names []string
	for _, d := range documents {
		if d.kind() != "" {
			names = append(names, d.kind()+" "+d.name())
		}
	}
	if len(names) == 0 {
		return errors.New("no such object: the manifest has no objects")
	}
	return fmt.Errorf("no such object; the manifest has: %s", strings.Join(names, ", "))
}

// patch applies a patch to an object, which must keep its identity.
func (d *document) patch(apply patchFunc) error {
	if d.before == nil {
		object, err := toJSON(d.body())
		if err != nil {
			return err
		}
		d.before, d.after = object, object
	}
	after, err := apply(d.after)
	if err != nil {
		return err
	}
	if err := sameObject(d.before, after); err != nil {
		return err
	}
	if len(after) > len(d.before)+maxGrowth {
		return fmt.Errorf("the patches add more than %d KiB to the object", maxGrowth>>10)
	}
	d.after = after
	return nil
}

// sameObject returns an error if a patch changes the identity of an object. A renamed object would make the operator prune the
// old one, and could overwrite an object that does not belong to the server.
func sameObject(before, after []byte) error {
	if !bytes.HasPrefix(after, []byte("{")) || string(after) == "{}" {
		return errors.New("a patch may not remove the object")
	}
	was, err := identityOf(before)
	if err != nil {
		return err
	}
	is, err := identityOf(after)
	if err != nil {
		return err
	}
	switch {
	case is.APIVersion != was.APIVersion:
		return errors.New("a patch may not change apiVersion")
	case is.Kind != was.Kind:
		return errors.New("a patch may not change kind")
	case is.Metadata.Name != was.Metadata.Name:
		return errors.New("a patch may not change metadata.name")
	case is.Metadata.Namespace != was.Metadata.Namespace:
		return errors.New("a patch may not change metadata.namespace")
	}
	return nil
}

// identity holds the fields that identify an object.
type identity struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

// identityOf decodes case-sensitively. encoding/json would accept a second field "Kind".
func identityOf(object []byte) (identity, error) {
	var id identity
	if err := kjson.UnmarshalCaseSensitivePreserveInts(object, &id); err != nil {
		return id, errors.New("apiVersion, kind, metadata.name and metadata.namespace must be strings")
	}
	return id, nil
}
