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

// PatchError says which patch is to blame. Its text is one line for the person who wrote the patch, and quotes no value
// of the patch or the object.
type PatchError struct {
	// Index is the patch's place in spec.patches, from 0.
	Index int
	// Target is the object that the patch failed on, or what it asks for if that is not known.
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

// applyPatches is the step that takes the Patches object out and does what it says.
func applyPatches(documents []*document) ([]*document, error) {
	patches, documents, err := takePatches(documents)
	if err != nil {
		return nil, err
	}
	for i, patch := range patches {
		change, err := newChange(patch)
		if err != nil {
			return nil, &PatchError{Index: i, Target: patch.Target, Err: err}
		}
		targets := match(documents, patch.Target)
		if len(targets) == 0 {
			return nil, &PatchError{Index: i, Target: patch.Target, Err: noMatch(documents)}
		}
		for _, d := range targets {
			if err := d.apply(change); err != nil {
				target := v1alpha1.PatchTarget{Kind: patch.Target.Kind, Name: d.name()}
				return nil, &PatchError{Index: i, Target: target, Err: err}
			}
		}
	}
	return documents, nil
}

// takePatches returns the patches, and the documents without the object that holds them.
func takePatches(documents []*document) ([]v1alpha1.Patch, []*document, error) {
	found, others, err := takeOne(documents, patchesKind)
	if found == nil || err != nil {
		return nil, others, err
	}
	patches, err := found.patches()
	return patches, others, err
}

// patches reads a Patches object.
func (d *document) patches() ([]v1alpha1.Patch, error) {
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

// unmarshalStrict refuses unknown fields, and fields in another case, which encoding/json takes.
func unmarshalStrict(text []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(text, into)
	if err != nil {
		return err
	}
	return inOneLine(errors.Join(strict...))
}

// match returns the objects that a patch is for.
func match(documents []*document, target v1alpha1.PatchTarget) []*document {
	var matched []*document
	for _, d := range documents {
		if d.kind() == target.Kind && (target.Name == "" || target.Name == d.name()) {
			matched = append(matched, d)
		}
	}
	return matched
}

// noMatch says what could have been matched.
func noMatch(documents []*document) error {
	var names []string
	for _, d := range documents {
		if d.kind() != "" {
			names = append(names, d.kind()+" "+d.name())
		}
	}
	if len(names) == 0 {
		return errors.New("there is no such object, nor any other")
	}
	return fmt.Errorf("there is no such object; there are: %s", strings.Join(names, ", "))
}

// apply changes an object, which must stay the object that it is.
func (d *document) apply(change change) error {
	if d.before == nil {
		object, err := toJSON(d.body())
		if err != nil {
			return err
		}
		d.before, d.after = object, object
	}
	after, err := change(d.after)
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

// sameObject says whether two states are of one object. A patch that renames an object would leave the old one to be
// pruned, and could step on one that is not the server's.
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

// identity is what makes an object the one that it is.
type identity struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

// identityOf is case-sensitive, unlike encoding/json, which a second field "Kind" would fool.
func identityOf(object []byte) (identity, error) {
	var id identity
	if err := kjson.UnmarshalCaseSensitivePreserveInts(object, &id); err != nil {
		return id, errors.New("apiVersion, kind, metadata.name and metadata.namespace must be text")
	}
	return id, nil
}
