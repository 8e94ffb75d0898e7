// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// Request is what a plan follows from.
type Request struct {
	Ref   objects.Ref
	Have  *corev1.Secret // the Secret of the informers, stripped; nil: there is none
	Keys  []Key          // wanted
	Reads []string       // the keys that the pod reads, by its StatefulSet

	// Restores reports whether the plan only restores what a pod needs: a lost owner reference is restored even if no key is
	// wanted, and another owner's Secret is left alone without an error.
	Restores bool
	// Drops reports whether inline values are removed that neither Keys nor Reads need.
	Drops bool
}

// Plan is the one write that brings the Secret in line.
type Plan struct {
	Secret   *corev1.Secret // as the informers will show it, stripped; nil: there is none
	Restored []string       // the names of the keys that get a value

	// write is created, or merged into the Secret if it has a resource version: a nil value is removed. Nil: nothing to write.
	write *corev1.Secret
	ref   objects.Ref
}

// Writes reports whether there is anything to write.
func (p Plan) Writes() bool { return p.write != nil }

// NewPlan plans the Secret. It fails with *objects.ConflictError if another owner's Secret has the name and keys are wanted, and
// with *objects.TerminatingError while that of a deleted server is collected.
func NewPlan(q Request) (Plan, error) {
	p, values := Plan{Secret: q.Have, ref: q.Ref}, map[string][]byte{}
	if q.Have == nil && len(q.Keys) == 0 {
		return p, nil
	}
	if q.Have == nil {
		q.Have = q.empty()
		values[saltKey] = Key{Name: saltKey}.value()
	}
	if err := checkOwner(q.Ref, q.Have); err != nil {
		if len(q.Keys) == 0 || q.Restores {
			return p, nil // not needed, so not touched
		}
		return p, err
	}
	for _, key := range q.Keys {
		if !key.heldBy(q.Have) {
			values[key.Name] = key.value()
			p.Restored = append(p.Restored, key.Name)
		}
	}
	for _, name := range q.obsolete() {
		values[name] = nil
	}
	if after := q.after(values); !equality.Semantic.DeepEqual(after, q.Have) {
		p.Secret, p.write = after, after.DeepCopy()
		p.write.StringData, p.write.Data, p.write.Annotations = nil, values, nil // annotations of a stripped Secret are the informers'
	}
	return p, nil
}

// after returns the Secret, stripped, after values were set, or removed where they are nil.
func (q Request) after(values map[string][]byte) *corev1.Secret {
	after := q.Have.DeepCopy()
	for _, key := range q.Keys {
		if key.label != "" {
			metav1.SetMetaDataLabel(&after.ObjectMeta, key.label, key.origin)
		}
	}
	for name, value := range values {
		after.StringData[name] = Digest(value)
		if value == nil {
			delete(after.StringData, name)
		}
	}
	if lostItsOwner(q.Ref, q.Have) && (len(q.Keys) > 0 || len(values) > 0 || q.Restores) {
		after.OwnerReferences = []metav1.OwnerReference{q.Ref.Owner()}
	}
	return after
}

// empty returns a Secret to be created.
func (q Request) empty() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: render.SecretName(q.Ref.Name), Namespace: q.Ref.Namespace, Labels: map[string]string{v1alpha1.ServerLabel: q.Ref.Name},
			OwnerReferences: []metav1.OwnerReference{q.Ref.Owner()},
		},
		StringData: map[string]string{},
	}
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

// checkOwner keeps the operator from touching a Secret that it did not create.
func checkOwner(ref objects.Ref, secret metav1.Object) error {
	switch owner := ref.Ownership(secret.GetOwnerReferences()); {
	case owner == objects.Own, lostItsOwner(ref, secret):
		return nil
	case owner == objects.Predecessors:
		return &objects.TerminatingError{Object: "Secret " + secret.GetName()}
	}
	return &objects.ConflictError{Object: "Secret " + secret.GetName()}
}

// lostItsOwner reports whether a released server's Secret has lost its owner reference. The operator restores it.
func lostItsOwner(ref objects.Ref, secret metav1.Object) bool {
	return ref.Installed && secret.GetLabels()[v1alpha1.ServerLabel] == ref.Name && ref.Ownership(secret.GetOwnerReferences()) == objects.Orphan
}
