// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Request is what a plan follows from.
type Request struct {
	Ref objects.Ref
	// Have is the Secret of the informers, stripped. It is nil if there is none.
	Have *corev1.Secret
	// Keys are wanted.
	Keys []Key
	// Reads are the keys that the pod reads, by its StatefulSet.
	Reads []string
	// Restores reports whether a lost owner reference is restored even if no key is wanted.
	Restores bool
	// Drops reports whether inline values are removed that neither Keys nor Reads need.
	Drops bool
}

// Plan is the one write that brings the Secret in line.
type Plan struct {
	// Secret is the Secret as the informers will show it, stripped. It is nil if there is none.
	Secret *corev1.Secret
	// Restored are the names of the keys that get a value.
	Restored []string

	ref    objects.Ref
	keys   []Key
	create *corev1.Secret    // to be created, with its values; nil: the Secret is there
	have   *corev1.Secret    // as it was seen
	data   map[string][]byte // to be set, or removed where nil
	writes bool
}

// Writes reports whether there is anything to write.
func (p Plan) Writes() bool { return p.writes }

// NewPlan plans the Secret. It fails with *objects.ConflictError if another owner's Secret has the name and keys are wanted, and
// with *objects.TerminatingError while that of a deleted server is collected.
func NewPlan(q Request) (Plan, error) {
	p := Plan{Secret: q.Have, ref: q.Ref, keys: q.Keys, have: q.Have}
	switch {
	case q.Have == nil && len(q.Keys) == 0:
		return p, nil
	case q.Have == nil:
		return q.planCreate(p), nil
	}
	if err := checkOwner(q.Ref, q.Have); err != nil {
		if len(q.Keys) == 0 {
			return p, nil // not needed, so not touched
		}
		return p, err
	}
	return q.planPatch(p), nil
}

func (q Request) planCreate(p Plan) Plan {
	labels := map[string]string{v1alpha1.ServerLabel: q.Ref.Name}
	maps.Copy(labels, labelsOf(q.Keys))
	data := map[string][]byte{saltKey: Key{Name: saltKey}.value()}
	for _, key := range q.Keys {
		data[key.Name] = key.value()
		p.Restored = append(p.Restored, key.Name)
	}
	p.create = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: render.SecretName(q.Ref.Name), Namespace: q.Ref.Namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{q.Ref.Owner()},
		},
		Data: data,
	}
	p.Secret, p.writes = strip(p.create.DeepCopy()), true
	return p
}

func (q Request) planPatch(p Plan) Plan {
	p.data = map[string][]byte{}
	for _, name := range q.obsolete() {
		p.data[name] = nil
	}
	for _, key := range q.Keys {
		if !key.heldBy(q.Have) {
			p.data[key.Name] = key.value()
			p.Restored = append(p.Restored, key.Name)
		}
	}
	p.writes = len(p.data) > 0 || !hasLabels(q.Have, labelsOf(q.Keys)) || lostItsOwner(q.Ref, q.Have) && (len(q.Keys) > 0 || q.Restores)
	if !p.writes {
		return p
	}
	p.Secret = q.Have.DeepCopy()
	for name, value := range p.data {
		p.Secret.StringData[name] = Digest(value)
		if value == nil {
			delete(p.Secret.StringData, name)
		}
	}
	return p
}

// obsolete returns the names of inline values that nothing needs any longer. Those of an immutable Secret cannot be removed.
func (q Request) obsolete() []string {
	if !q.Drops || ptr.Deref(q.Have.Immutable, false) || slices.Contains(q.Reads, objects.AllKeys) {
		return nil
	}
	inline := []string{render.ClientSecretKey}
	if q.Have.Labels[originLabel] == inlineOrigin {
		inline = append(inline, render.TokenKey)
	}
	return slices.DeleteFunc(inline, func(name string) bool {
		_, held := q.Have.StringData[name]
		return !held || slices.Contains(q.Reads, name) || slices.ContainsFunc(q.Keys, func(k Key) bool { return k.Name == name })
	})
}

// labelsOf returns the labels that follow from keys.
func labelsOf(keys []Key) map[string]string {
	labels := map[string]string{}
	for _, key := range keys {
		if key.label != "" {
			labels[key.label] = key.origin
		}
	}
	return labels
}

func hasLabels(secret *corev1.Secret, labels map[string]string) bool {
	for label, value := range labels {
		if secret.Labels[label] != value {
			return false
		}
	}
	return true
}

// checkOwner keeps the operator from touching a Secret that it did not create.
func checkOwner(ref objects.Ref, secret *corev1.Secret) error {
	switch owner := ref.Ownership(secret.OwnerReferences); {
	case owner == objects.Own, lostItsOwner(ref, secret):
		return nil
	case owner == objects.Predecessors:
		return &objects.TerminatingError{Object: "Secret " + secret.Name}
	}
	return &objects.ConflictError{Object: "Secret " + secret.Name}
}

// lostItsOwner reports whether a released server's Secret has lost its owner reference. The operator restores it.
func lostItsOwner(ref objects.Ref, secret *corev1.Secret) bool {
	return ref.Installed && secret.Labels[v1alpha1.ServerLabel] == ref.Name && ref.Ownership(secret.OwnerReferences) == objects.Orphan
}

// IsOwn reports whether the credentials Secret is the server's.
func IsOwn(ref objects.Ref, secret *corev1.Secret) bool { return checkOwner(ref, secret) == nil }
