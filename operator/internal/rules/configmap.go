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

// Label with LabelValue marks the ConfigMaps with rules.
const (
	Label      = "jupyterserver.dev/policies"
	LabelValue = "true"
)

// version is the contents of a ConfigMap at one time.
type version struct {
	reference corev1.ObjectReference // for events
	sources   []policies.Source      // by name
	mistakes  policies.SourceErrors  // errors found without the other ConfigMaps
	digest    string                 // of the contents
}

func versionOf(c *corev1.ConfigMap) *version {
	v := &version{reference: corev1.ObjectReference{
		APIVersion: "v1", Kind: "ConfigMap", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
	}}
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		v.sources = append(v.sources, policies.Source{Name: c.Name + "/" + key, Text: c.Data[key]})
	}
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		v.mistakes = append(v.mistakes, &policies.SourceError{Source: c.Name + "/" + key, Message: "binary data is not supported: rules and data must be UTF-8 text"})
	}
	v.digest = digestOf(c.Data, c.BinaryData)
	return v
}

// digestOf is equal for equal values only: JSON separates adjacent values, and sorts the keys of maps.
func digestOf(values ...any) string {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // maps and strings always marshal
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// set contains one version of each of some ConfigMaps, by name.
type set map[string]*version

// agrees reports whether a ConfigMap is in both sets with the same contents, or in neither.
func (s set) agrees(other set, name string) bool {
	a, b := s[name], other[name]
	if a == nil || b == nil {
		return a == b
	}
	return a.digest == b.digest
}

// sources returns the sources of all ConfigMaps, sorted by name.
func (s set) sources() []policies.Source {
	var all []policies.Source
	for _, name := range slices.Sorted(maps.Keys(s)) {
		all = append(all, s[name].sources...)
	}
	return all
}

// digest returns a digest of the contents of all ConfigMaps.
func (s set) digest() string {
	digests := map[string]string{}
	for name, v := range s {
		digests[name] = v.digest
	}
	return digestOf(digests)
}

// identity is like digest, but also changes when a ConfigMap is recreated with the same contents.
func (s set) identity() string {
	identities := map[string]string{}
	for name, v := range s {
		identities[name] = v.digest + " " + string(v.reference.UID)
	}
	return digestOf(identities)
}
