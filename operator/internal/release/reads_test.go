// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Each way in which a pod can read the server's own Secret is known, of the StatefulSet of the API server and of that of the informers.
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
				t.Errorf("of the informers: got %v, want %v", got, test.want)
			}
		})
	}
}
