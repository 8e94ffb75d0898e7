// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

func TestStripKeepsOnlyOwnFields(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, subresource string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, Subresource: subresource, FieldsV1: metav1.NewFieldsV1("{}")}
	}
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"x"}, VolumeName: "v"}}
	claim.ManagedFields = []metav1.ManagedFieldsEntry{
		entry("kubectl", metav1.ManagedFieldsOperationUpdate, ""),
		entry(FieldManager, metav1.ManagedFieldsOperationUpdate, ""),
		entry(FieldManager, metav1.ManagedFieldsOperationApply, "status"),
		entry(FieldManager, metav1.ManagedFieldsOperationApply, ""),
	}
	claim.Labels = map[string]string{v1alpha1.ServerLabel: "alice", "app": "x"}
	claim.Annotations = map[string]string{appliedAnnotation: "digest", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
	for range 2 { // informers may transform an object twice
		if _, err := Strip(claim); err != nil {
			t.Fatal(err)
		}
	}
	if want := map[string]string{v1alpha1.ServerLabel: "alice", appliedAnnotation: "digest"}; !maps.Equal(claim.Labels, want) || claim.Annotations != nil {
		t.Errorf("labels %v, want %v; annotations %v, want none", claim.Labels, want, claim.Annotations)
	}
	if got := appliedOf(claim); got != "digest" {
		t.Errorf("applied %q", got)
	}
	if len(claim.ManagedFields) != 1 || claim.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply || claim.ManagedFields[0].Subresource != "" {
		t.Errorf("managed fields %v", claim.ManagedFields)
	}
	if claim.Spec.AccessModes != nil || claim.Spec.VolumeName != "v" {
		t.Errorf("spec %+v", claim.Spec)
	}
}

// TestReadKeys has every way in which a pod can read the credentials Secret, for whole and for stripped StatefulSets.
func TestReadKeys(t *testing.T) {
	env := func(secret string) corev1.PodSpec {
		ref := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "token"}
		return corev1.PodSpec{InitContainers: []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: ref}}}}}}
	}
	envFrom := corev1.PodSpec{Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "alice-jupyter"}}},
	}}}}
	volume := func(items ...corev1.KeyToPath) corev1.PodSpec {
		source := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "alice-jupyter", Items: items}}
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: source}}}
	}
	projected := func(items ...corev1.KeyToPath) corev1.PodSpec {
		source := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "alice-jupyter"}, Items: items}
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: source}}}}}}}
	}
	tests := []struct {
		reason string
		pod    corev1.PodSpec
		want   []string
	}{
		{"a variable", env("alice-jupyter"), []string{"token"}},
		{"a variable of another Secret", env("other"), nil},
		{"all variables", envFrom, []string{AllKeys}},
		{"a file", volume(corev1.KeyToPath{Key: "cookie-secret"}), []string{"cookie-secret"}},
		{"all files", volume(), []string{AllKeys}},
		{"a projected file", projected(corev1.KeyToPath{Key: "b"}, corev1.KeyToPath{Key: "a"}), []string{"a", "b"}},
		{"all projected files", projected(), []string{AllKeys}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			set := &appsv1.StatefulSet{}
			set.Name = "alice"
			set.Spec.Template.Spec = test.pod
			if len(set.Spec.Template.Spec.Containers) == 0 {
				set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "jupyter"}}
			}
			if got := ReadKeys(set); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if _, err := Strip(set); err != nil {
				t.Fatal(err)
			}
			if got := ReadKeys(set); !slices.Equal(got, test.want) {
				t.Errorf("stripped: got %v, want %v", got, test.want)
			}
		})
	}
}
