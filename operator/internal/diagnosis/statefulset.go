// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"strings"
)

// nameTaken finds a foreign pod with the only name that the pod of the StatefulSet can have. The StatefulSet controller waits for
// it to go without an event (pkg/controller/statefulset/stateful_pod_control.go, CreateStatefulPod).
func nameTaken(o Observation) (Finding, bool) {
	if o.NameTakenBy == "" || o.StatefulSet == nil {
		return none()
	}
	return degraded("PodNameTaken", "The pod "+o.StatefulSet.Name+"-0 already exists and belongs to "+o.NameTakenBy,
		"Delete that pod, or use another name for the JupyterServer")
}

// creationRejected finds out why the API server rejects the pod. The StatefulSet controller records an event for each attempt
// (pkg/controller/statefulset/stateful_pod_control.go, recordPodEvent).
func creationRejected(o Observation) (Finding, bool) {
	if o.StatefulSet == nil {
		return none()
	}
	last, found := newest(eventsOf(o, o.StatefulSet.UID, "FailedCreate", "SuccessfulCreate", "SuccessfulDelete"))
	if !found || last.Reason != "FailedCreate" {
		return none()
	}
	_, why, wrapped := strings.Cut(last.Message, " failed error: ")
	if !wrapped {
		why = last.Message
	}
	// pods "alice-0" is forbidden: ... (apimachinery/pkg/api/errors, NewForbidden)
	if subject, inner, cut := strings.Cut(why, " is forbidden: "); cut && !strings.Contains(subject, ": ") {
		why = inner
	}
	for _, r := range rejections {
		if strings.Contains(why, r.mark) {
			return degraded("FailedCreate", r.lead+": "+why, r.advice)
		}
	}
	return degraded("FailedCreate", "Kubernetes rejects the pod: "+why, "Correct the spec, or ask your administrator")
}

type rejection struct{ mark, lead, advice string }

// rejections are the admission plugins that reject pods, identified by a part of their messages.
var rejections = []rejection{
	// apiserver/pkg/admission/plugin/resourcequota/controller.go
	{"exceeded quota: ", "The namespace quota is exceeded",
		"Stop another server, lower spec.jupyterServer.resources, or ask your administrator for a larger quota"},
	// apiserver/pkg/admission/plugin/resourcequota/controller.go, pkg/quota/v1/evaluator/core/pods.go
	{"failed quota: ", "The namespace quota requires requests and limits for every container",
		"Set spec.jupyterServer.resources.requests and limits"},
	{"insufficient quota to ", "The namespace quota does not cover the pod",
		"Change spec.scheduling.priorityClassName, or ask your administrator for a quota"},
	// pod-security-admission/admission/admission.go
	{"violates PodSecurity ", "The namespace's Pod Security level forbids the pod",
		"Correct spec.pod (securityContext, containers), or ask your administrator for another level"},
	// plugin/pkg/admission/limitranger/admission.go
	{" usage per ", "A LimitRange in the namespace forbids the pod",
		"Change spec.jupyterServer.resources to fit it"},
	{" max limit to request ratio per ", "A LimitRange in the namespace forbids the pod",
		"Change spec.jupyterServer.resources to fit it"},
	// apiserver/pkg/admission/plugin/webhook/errors/statuserror.go
	{"admission webhook ", "A cluster policy forbids the pod",
		"Correct the spec, or ask your administrator about the policy"},
	// apiserver/pkg/admission/plugin/policy/validating/dispatcher.go
	{"ValidatingAdmissionPolicy ", "A cluster policy forbids the pod",
		"Correct the spec, or ask your administrator about the policy"},
	// apiserver/pkg/util/webhook/error.go
	{"failed calling webhook ", "An admission webhook of the cluster does not respond, so no pod can be created",
		"Ask your administrator to fix it; the pod is then created automatically"},
	// plugin/pkg/admission/serviceaccount/admission.go
	{"error looking up service account ", "The service account does not exist",
		"Create it, or correct spec.pod.serviceAccountName"},
	// plugin/pkg/admission/priority/admission.go
	{"no PriorityClass with name ", "The priority class does not exist",
		"Correct spec.scheduling.priorityClassName"},
	// apimachinery/pkg/api/errors, NewInvalid
	{" is invalid: ", "The pod is invalid",
		"Correct spec.pod or spec.patches"},
}

// notCreated covers the time before the StatefulSet controller has created the pod.
func notCreated(Observation) (Finding, bool) {
	return progressing("Starting", "Creating the pod", "")
}
