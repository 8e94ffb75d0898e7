// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
)

// namedFields is how many fields a message names.
const namedFields = 3

// contest takes over what an observation says of contested objects, and comes back when the first of them is due.
func (r *Reconciler) contest(ctx context.Context, server *v1alpha1.JupyterServer, observation release.Observation, out *outcome) {
	out.contested = observation.Contested
	r.Engine.Identify(ctx, server, out.contested)
	for _, contest := range out.contested {
		out.lookAgain = soonest(out.lookAgain, contest.Wait)
	}
}

// withContest adds contested objects to the summary of a server that is in order otherwise, as far as its spec goes. It is ready
// or not as its pod is: a server whose Service has another annotation still serves. The operator goes on trying, so it is
// reconciling, and not stalled.
func withContest(s summary, rep report) summary {
	if !isContested(rep) {
		return s
	}
	s.reconciling = true
	s.message = strings.TrimSpace(s.message + " " + contestMessage(rep.outcome.contested))
	return s
}

func isContested(rep report) bool {
	return !rep.terminating && rep.outcome.blocked == nil && rep.failure == nil && len(rep.outcome.contested) > 0
}

func reconcilingReason(s summary, rep report) string {
	if isContested(rep) {
		return v1alpha1.ReasonContested
	}
	return s.reason
}

// contestMessage says who changes what, and what to do. It holds nothing that changes while the fight goes on, because each other
// message is a write.
func contestMessage(contested []release.Contest) string {
	var sides []string
	for _, contest := range contested {
		sides = append(sides, contest.Object+" "+describe(contest.Rival))
	}
	return sentence("the operator waits longer and longer before it puts back what somebody else changes again and again: " +
		strings.Join(sides, "; ") + ". Stop the other one, or let the spec say what it wants (spec.patches)")
}

func describe(rival *release.Rival) string {
	switch {
	case rival == nil:
		return "is changed by somebody who is not known"
	case rival.Deletes:
		return "is deleted (the audit log of the API server tells by whom)"
	case len(rival.Managers) > 0:
		return fmt.Sprintf("has %s set by %s", enumerate(rival.Fields, namedFields), enumerate(rival.Managers, namedFields))
	case rival.Within:
		return "is changed while it is applied (by a mutating admission webhook or policy)"
	}
	return "has fields removed (which leaves no name; the audit log of the API server tells by whom)"
}

// enumerate names some of a list, and how many more there are.
func enumerate(list []string, limit int) string {
	if more := len(list) - limit; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:limit], ", "), more)
	}
	return strings.Join(list, ", ")
}

// announceContest makes an event of a fight, once.
func (r *Reconciler) announceContest(before, after *v1alpha1.JupyterServer) {
	was, is := releasedReason(before), meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReleased)
	if is != nil && is.Reason == v1alpha1.ReasonContested && was != is.Reason {
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "Repair", "%s", is.Message)
	}
}

func releasedReason(server *v1alpha1.JupyterServer) string {
	if condition := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReleased); condition != nil {
		return condition.Reason
	}
	return ""
}
