// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// judged is what the policies say of a server. Its zero value says that they were not asked.
type judged struct {
	asked  bool
	result policies.Result
	// failure is why they gave no answer.
	failure *policies.EvaluationError
}

// permit asks the policies whether a server may be installed, whatever it was before: what is in the cluster must stand for
// itself. Nil for rendered has the server rendered without what it refers to, which no rule looks at. A server that may be
// installed has its routes reserved.
func (r *Reconciler) permit(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, out *outcome) error {
	err := r.judge(ctx, server, rendered, out)
	if err != nil {
		r.Cluster.Reservations.GiveBack(server)
	}
	return err
}

func (r *Reconciler) judge(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, out *outcome) error {
	namespace, err := r.Cluster.Namespace(ctx, server.Namespace)
	if err != nil {
		return err
	}
	result, err := r.Judge.Ask(ctx, judge.Case{
		Operation: policies.Create,
		Server:    server,
		Rendered:  rendered,
		Namespace: namespace,
		Routes:    r.Cluster.Routes(server),
	})
	var (
		renderFailed *judge.RenderError
		failed       *policies.EvaluationError
	)
	switch {
	case errors.As(err, &renderFailed):
		return &blocked{v1alpha1.ReasonRenderFailed, sentence(err.Error())}
	case errors.As(err, &failed) && ctx.Err() == nil:
		out.judged = judged{asked: true, failure: failed}
		return &blocked{v1alpha1.ReasonPolicyError, noAnswer(failed)}
	case err != nil:
		return err
	}
	out.judged = judged{asked: true, result: result}
	if denials := result.Denials(); len(denials) > 0 {
		return &blocked{conditionReason(denials[0].ID), refusal(denials)}
	}
	return nil
}

func noAnswer(failed *policies.EvaluationError) string {
	return sentence("the policies gave no answer, so nothing was changed: " + failed.Err.Error() + "; ask the admin to look at them")
}

// conditionReason is the id of a rule in the spelling of reasons: auth-none is AuthNone.
func conditionReason(id string) string {
	var reason strings.Builder
	for word := range strings.SplitSeq(id, "-") {
		reason.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return reason.String()
}

// refusal is the first refusal in full, and the rules of the others.
func refusal(denials []policies.Verdict) string {
	first := denials[0]
	text := fmt.Sprintf("%s (%s, rule %s). %s", first.Message, first.Path, first.ID, first.Remediation)
	if more := otherRules(denials); len(more) > 0 {
		text = fmt.Sprintf("%s Also refused by: %s.", text, strings.Join(more, ", "))
	}
	return sentence(text)
}

// otherRules are the rules of all but the first verdict, each once.
func otherRules(verdicts []policies.Verdict) []string {
	var rules []string
	seen := map[string]bool{verdicts[0].ID: true}
	for _, v := range verdicts {
		if !seen[v.ID] {
			seen[v.ID] = true
			rules = append(rules, v.ID)
		}
	}
	return rules
}

// policyCondition: what is blocked before the policies were asked keeps what they said last.
func (r *Reconciler) policyCondition(status *v1alpha1.JupyterServerStatus, rep report) {
	j := rep.outcome.judged
	set := func(is metav1.ConditionStatus, reason, message string) {
		r.condition(status, v1alpha1.ConditionPolicyCompliant, is, reason, message)
	}
	switch {
	case !j.asked && meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionPolicyCompliant) != nil:
		return
	case !j.asked:
		set(metav1.ConditionUnknown, v1alpha1.ReasonNotJudged, "The policies were not asked yet.")
	case j.failure != nil:
		set(metav1.ConditionUnknown, v1alpha1.ReasonPolicyError, noAnswer(j.failure))
	case j.result.Denied():
		set(metav1.ConditionFalse, conditionReason(j.result.Denials()[0].ID), refusal(j.result.Denials()))
	case len(j.result.Exempted()) > 0:
		set(metav1.ConditionTrue, v1alpha1.ReasonExempt, notes(j.result))
	default:
		set(metav1.ConditionTrue, v1alpha1.ReasonCompliant, notes(j.result))
	}
}

// notes are the verdicts that refuse nothing, in one line.
func notes(result policies.Result) string {
	var parts []string
	for _, v := range result.Verdicts {
		note := fmt.Sprintf("%s %s: %s: %s", v.Severity, v.ID, v.Path, v.Message)
		if v.Severity == policies.Exempt {
			note += " (" + v.Exemption + ")"
		}
		parts = append(parts, note)
	}
	return line(strings.Join(parts, "; "))
}

// announceVerdict makes an event when the policies allow a server again. A refusal is announced with the trouble that it makes.
func (r *Reconciler) announceVerdict(before, after *v1alpha1.JupyterServer) {
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionPolicyCompliant)
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionPolicyCompliant)
	if is == nil || is.Status != metav1.ConditionTrue || was == nil || was.Status != metav1.ConditionFalse {
		return
	}
	r.Events.Eventf(after, nil, corev1.EventTypeNormal, v1alpha1.ReasonCompliant, "Judge", "the policies allow the server again")
}

// freed maps a server or an Ingress that goes, or goes elsewhere, to the servers that the policies refuse for its sake, perhaps.
func (r *Reconciler) freed(ctx context.Context, o client.Object) []reconcile.Request {
	servers, err := r.Cluster.Near(ctx, o)
	if err != nil {
		return nil // only when the informers stop
	}
	var requests []reconcile.Request
	for _, server := range servers {
		if meta.IsStatusConditionFalse(server.Status.Conditions, v1alpha1.ConditionPolicyCompliant) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(server)})
		}
	}
	return requests
}
