// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"strings"
)

// nameTaken finds a pod of somebody else that the StatefulSet controller waits for, without an event, because a pod of a StatefulSet
// can have no other name (pkg/controller/statefulset/stateful_pod_control.go, CreateStatefulPod).
func nameTaken(o Observation) (Finding, bool) {
	if o.NameTakenBy == "" || o.StatefulSet == nil {
		return none()
	}
	return degraded("PodNameTaken", "There is a pod "+o.StatefulSet.Name+"-0 already, which belongs to "+o.NameTakenBy,
		"Delete that pod, or give the JupyterServer another name")
}

// creationRefused finds why the API server refuses the pod. The StatefulSet controller writes an event for each try
// (pkg/controller/statefulset/stateful_pod_control.go, recordPodEvent).
func creationRefused(o Observation) (Finding, bool) {
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
	for _, r := range refusals {
		if strings.Contains(why, r.mark) {
			return degraded("FailedCreate", r.lead+": "+why, r.advice)
		}
	}
	return degraded("FailedCreate", "Kubernetes refuses the pod: "+why, "Correct the spec, or ask the admin")
}

type refusal struct{ mark, lead, advice string }

// refusals are the admission plugins that refuse pods, by a part of what they say.
var refusals = []refusal{
	// apiserver/pkg/admission/plugin/resourcequota/controller.go
	{"exceeded quota: ", "The namespace's quota is used up",
		"Stop another server, ask for less in spec.jupyterServer.resources, or ask the admin for a larger quota"},
	// apiserver/pkg/admission/plugin/resourcequota/controller.go, pkg/quota/v1/evaluator/core/pods.go
	{"failed quota: ", "The namespace's quota wants every container to say what it needs",
		"Set spec.jupyterServer.resources requests and limits"},
	{"insufficient quota to ", "The namespace's quota does not cover the pod",
		"Change spec.scheduling.priorityClassName, or ask the admin for a quota"},
	// pod-security-admission/admission/admission.go
	{"violates PodSecurity ", "The namespace's Pod Security level forbids the pod",
		"Correct spec.pod (securityContext, containers), or ask the admin for another level"},
	// plugin/pkg/admission/limitranger/admission.go
	{" usage per ", "A LimitRange of the namespace forbids the pod",
		"Change spec.jupyterServer.resources to fit it"},
	{" max limit to request ratio per ", "A LimitRange of the namespace forbids the pod",
		"Change spec.jupyterServer.resources to fit it"},
	// apiserver/pkg/admission/plugin/webhook/errors/statuserror.go
	{"admission webhook ", "A rule of the cluster forbids the pod",
		"Correct the spec, or ask the admin about the rule"},
	// apiserver/pkg/admission/plugin/policy/validating/dispatcher.go
	{"ValidatingAdmissionPolicy ", "A rule of the cluster forbids the pod",
		"Correct the spec, or ask the admin about the rule"},
	// apiserver/pkg/util/webhook/error.go
	{"failed calling webhook ", "A check of the cluster does not answer, so that no pod is let in",
		"Ask the admin to repair it; the pod is then made by itself"},
	// plugin/pkg/admission/serviceaccount/admission.go
	{"error looking up service account ", "The service account does not exist",
		"Create it, or correct spec.pod.serviceAccountName"},
	// plugin/pkg/admission/priority/admission.go
	{"no PriorityClass with name ", "The priority class does not exist",
		"Correct spec.scheduling.priorityClassName"},
	// apimachinery/pkg/api/errors, NewInvalid
	{" is invalid: ", "Kubernetes finds the pod invalid",
		"Correct spec.pod or spec.patches"},
}

// notCreated is the moment before the StatefulSet controller has made the pod.
func notCreated(Observation) (Finding, bool) {
	return progressing("Starting", "The pod is being made", "")
}
