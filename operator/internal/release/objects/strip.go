// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// readsLabel is on StatefulSets in the informers only: the keys of the credentials Secret that their pods read.
const readsLabel = "jupyterserver.dev/reads"

// AllKeys stands for every key of a Secret that a pod reads as a whole.
const AllKeys = "*"

// Strip is a transform of the informers that drops what Diff does not look at. Annotations that are needed move to the labels:
// each map takes a third of a KiB, however little it holds.
func Strip(in any) (any, error) {
	o, ok := in.(client.Object)
	if !ok {
		return in, nil
	}
	labels := strippedLabels(o)
	o.SetManagedFields(strippedFields(o))
	o.SetLabels(labels)
	o.SetAnnotations(nil)
	switch o := in.(type) {
	case *appsv1.StatefulSet:
		o.Spec = appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, UpdateStrategy: o.Spec.UpdateStrategy}
	case *corev1.PersistentVolumeClaim:
		o.Spec = corev1.PersistentVolumeClaimSpec{VolumeName: o.Spec.VolumeName, StorageClassName: o.Spec.StorageClassName, Resources: o.Spec.Resources}
	case *networkingv1.Ingress:
		o.Spec = networkingv1.IngressSpec{Rules: o.Spec.Rules}
	}
	return in, nil
}

func strippedFields(o client.Object) []metav1.ManagedFieldsEntry {
	var kept []metav1.ManagedFieldsEntry
	for _, entry := range o.GetManagedFields() {
		switch {
		case isOurs(entry):
			kept = append(kept, metav1.ManagedFieldsEntry{
				Manager:   FieldManager,
				Operation: metav1.ManagedFieldsOperationApply,
				FieldsV1:  metav1.NewFieldsV1(withoutOwners(entry.FieldsV1.GetRawString(), o.GetOwnerReferences())),
			})
		case isHelms(entry):
			kept = append(kept, metav1.ManagedFieldsEntry{Manager: helmManager, Operation: entry.Operation})
		}
	}
	return kept
}

func strippedLabels(o client.Object) map[string]string {
	labels := map[string]string{}
	if name, ok := o.GetLabels()[v1alpha1.ServerLabel]; ok {
		labels[v1alpha1.ServerLabel] = name
	}
	if applied := appliedOf(o); applied != "" {
		labels[appliedAnnotation] = applied
	}
	if release := helmReleaseOf(o); release.Name != "" {
		labels[helmReleaseAnnotation], labels[helmNamespaceAnnotation] = release.Name, release.Namespace
	}
	if set, ok := o.(*appsv1.StatefulSet); ok {
		if keys := ReadKeys(set); len(keys) > 0 {
			labels[readsLabel] = strings.Join(keys, ",")
		}
	}
	return labels
}

// ReadKeys returns the keys of the credentials Secret that the pods of a StatefulSet read, sorted. It takes a whole
// StatefulSet or a stripped one.
func ReadKeys(set *appsv1.StatefulSet) []string {
	if len(set.Spec.Template.Spec.Containers) == 0 {
		if set.Labels[readsLabel] == "" {
			return nil
		}
		return strings.Split(set.Labels[readsLabel], ",")
	}
	secret, pod := render.SecretName(set.Name), set.Spec.Template.Spec
	var keys []string
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		keys = append(keys, keysOfEnvironment(container, secret)...)
	}
	for _, volume := range pod.Volumes {
		if volume.Secret != nil && volume.Secret.SecretName == secret {
			keys = append(keys, keysOfItems(volume.Secret.Items)...)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil && source.Secret.Name == secret {
				keys = append(keys, keysOfItems(source.Secret.Items)...)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func keysOfEnvironment(container corev1.Container, secret string) (keys []string) {
	for _, env := range container.Env {
		if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil && from.SecretKeyRef.Name == secret {
			keys = append(keys, from.SecretKeyRef.Key)
		}
	}
	for _, from := range container.EnvFrom {
		if from.SecretRef != nil && from.SecretRef.Name == secret {
			keys = append(keys, AllKeys)
		}
	}
	return keys
}

// keysOfItems returns the keys that a volume projects. A volume without items projects all.
func keysOfItems(items []corev1.KeyToPath) []string {
	if len(items) == 0 {
		return []string{AllKeys}
	}
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
	}
	return keys
}
