// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Strip removes from a pod's spec what Diagnose does not use, for callers that keep many pods in memory.
func Strip(pod *corev1.Pod) {
	stripContainers(pod.Spec.InitContainers)
	stripContainers(pod.Spec.Containers)
	pod.Spec = corev1.PodSpec{
		InitContainers: pod.Spec.InitContainers, Containers: pod.Spec.Containers, ImagePullSecrets: pod.Spec.ImagePullSecrets,
		NodeName: pod.Spec.NodeName, SchedulerName: pod.Spec.SchedulerName, ReadinessGates: pod.Spec.ReadinessGates,
	}
}

func stripContainers(containers []corev1.Container) {
	for i, c := range containers {
		containers[i] = corev1.Container{
			Name: c.Name, Image: c.Image, Resources: c.Resources, Env: tokenOf(c.Env), RestartPolicy: c.RestartPolicy,
			StartupProbe: c.StartupProbe, LivenessProbe: c.LivenessProbe, ReadinessProbe: c.ReadinessProbe, ImagePullPolicy: c.ImagePullPolicy,
		}
	}
}

// tokenVariable is the variable with Jupyter's token if the token is in a Secret.
const tokenVariable = "JUPYTER_TOKEN"

// tokenOf returns the variable of the token as a list without spare capacity, or nil.
func tokenOf(env []corev1.EnvVar) []corev1.EnvVar {
	if i := slices.IndexFunc(env, isToken); i >= 0 {
		return []corev1.EnvVar{env[i]}
	}
	return nil
}

func isToken(e corev1.EnvVar) bool {
	return e.Name == tokenVariable && e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil
}
