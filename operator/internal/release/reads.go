// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// readsLabel is on StatefulSets of the informers only: the keys of the server's own Secret that their pods read.
const readsLabel = "jupyterserver.dev/reads"

// AllKeys stands for every key of a Secret, where a pod reads it as a whole.
const AllKeys = "*"

// ReadKeys are the keys of the server's own Secret that the pods of a StatefulSet read, sorted. It takes one of the API server, or of
// informers with Strip as their transform.
func ReadKeys(set *appsv1.StatefulSet) []string {
	if len(set.Spec.Template.Spec.Containers) == 0 {
		if set.Labels[readsLabel] == "" {
			return nil
		}
		return strings.Split(set.Labels[readsLabel], ",")
	}
	own := render.SecretName(set.Name)
	pod := set.Spec.Template.Spec
	var keys []string
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, env := range container.Env {
			if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil && from.SecretKeyRef.Name == own {
				keys = append(keys, from.SecretKeyRef.Key)
			}
		}
		for _, from := range container.EnvFrom {
			if from.SecretRef != nil && from.SecretRef.Name == own {
				keys = append(keys, AllKeys)
			}
		}
	}
	for _, volume := range pod.Volumes {
		if volume.Secret != nil && volume.Secret.SecretName == own {
			keys = appendKeys(keys, volume.Secret.Items)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil && source.Secret.Name == own {
				keys = appendKeys(keys, source.Secret.Items)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// appendKeys takes no items for all.
func appendKeys(keys []string, items []corev1.KeyToPath) []string {
	if len(items) == 0 {
		return append(keys, AllKeys)
	}
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}
