// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Label is what a ConfigMap of rules has, with LabelValue.
const (
	Label      = "jupyterserver.dev/policies"
	LabelValue = "true"
)

// version is what a ConfigMap holds at one time.
type version struct {
	reference corev1.ObjectReference // for events
	sources   []policies.Source      // by name
	mistakes  policies.SourceErrors  // those that show without the others
	digest    string                 // of the content
}

func versionOf(c *corev1.ConfigMap) *version {
	v := &version{reference: corev1.ObjectReference{
		APIVersion: "v1", Kind: "ConfigMap", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
	}}
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		v.sources = append(v.sources, policies.Source{Name: c.Name + "/" + key, Text: c.Data[key]})
	}
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		v.mistakes = append(v.mistakes, &policies.SourceError{Source: c.Name + "/" + key, Message: "is binary, but rules and data are text in UTF-8"})
	}
	v.digest = digestOf(c.Data, c.BinaryData)
	return v
}

// digestOf is the same for the same values, and different for all others: JSON keeps apart what is beside each other, and sorts
// the keys of maps.
func digestOf(values ...any) string {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // maps and texts always become JSON
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// set is one version of each of some ConfigMaps, by their names.
type set map[string]*version

// agrees says whether a ConfigMap is in both sets with the same content, or in neither.
func (s set) agrees(other set, name string) bool {
	a, b := s[name], other[name]
	if a == nil || b == nil {
		return a == b
	}
	return a.digest == b.digest
}

// sources are those of all ConfigMaps, by name.
func (s set) sources() []policies.Source {
	var all []policies.Source
	for _, name := range slices.Sorted(maps.Keys(s)) {
		all = append(all, s[name].sources...)
	}
	return all
}

// digest is that of the content of all ConfigMaps.
func (s set) digest() string {
	digests := map[string]string{}
	for name, v := range s {
		digests[name] = v.digest
	}
	return digestOf(digests)
}

// identity differs as well when a ConfigMap was made anew with the same content.
func (s set) identity() string {
	identities := map[string]string{}
	for name, v := range s {
		identities[name] = v.digest + " " + string(v.reference.UID)
	}
	return digestOf(identities)
}
