// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/records"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Problem is why a spec cannot be applied. It is a normal state, not an error.
type Problem struct {
	Reason  string // of the conditions
	Message string // one sentence: what is wrong, and what to do
	Denied  bool   // the policies deny the spec, so that no pod may be started for it
}

// ProblemOf returns the problem of a spec that an error of applying it shows, or nil if the error is worth another try.
func ProblemOf(err error) *Problem {
	var (
		conflict *objects.ConflictError
		record   *records.ConflictError
		apply    *objects.ApplyError
	)
	switch {
	case IsNamespaceTerminating(err):
		return nil
	case errors.As(err, &conflict):
		return NewProblem(v1alpha1.ReasonNameConflict, err.Error()+", so it was left alone: "+wayOut(conflict))
	case errors.As(err, &record):
		return NewProblem(v1alpha1.ReasonReleaseConflict, err.Error()+", so it was left alone: run `helm uninstall`, or give the JupyterServer another name")
	case apierrors.IsRequestEntityTooLargeError(err), isTooLong(err):
		return NewProblem(v1alpha1.ReasonApplyRefused, "the server is too large to be stored: "+err.Error()+"; shorten the spec, such as the lists of auth.oidc.allow")
	case errors.As(err, &apply) && apply.Rejected():
		return NewProblem(v1alpha1.ReasonApplyRefused, "the API server rejected the "+apply.Object+": "+withoutDiff(apply.Err.Error()))
	}
	return nil
}

// NewProblem returns a problem whose message is made one sentence.
func NewProblem(reason, message string) *Problem {
	return &Problem{Reason: reason, Message: sentence(message)}
}

// wayOut is the advice about an object that is in the way. Deleting a claim is never advised: it may hold files.
func wayOut(conflict *objects.ConflictError) string {
	if claim, isClaim := strings.CutPrefix(conflict.Object, "PersistentVolumeClaim "); isClaim {
		return "give the JupyterServer another name; to use the files of that claim, name it in spec.storage.existingClaim (" + claim + ")"
	}
	return "delete it, or give the JupyterServer another name"
}

// isTooLong reports whether the API server found an object, such as the record of the release, larger than allowed.
func isTooLong(err error) bool {
	return apierrors.IsInvalid(err) && apierrors.HasStatusCause(err, metav1.CauseType(field.ErrorTypeTooLong))
}

// IsNamespaceTerminating reports whether an object could not be created because its namespace is being deleted
// (apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go).
func IsNamespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// withoutDiff leaves out the difference of two objects that the API server appends to some rejections.
func withoutDiff(message string) string {
	before, _, _ := strings.Cut(message, "\n@@")
	return before
}

// sentence returns a message as one line with a capital and a full stop. A field or a host at its start stays as it is.
func sentence(message string) string {
	text := line(message)
	if first, _, _ := strings.Cut(text, " "); !strings.ContainsAny(first, "./") {
		_, size := utf8.DecodeRuneInString(text)
		text = strings.ToUpper(text[:size]) + text[size:]
	}
	return strings.TrimSuffix(text, ".") + "."
}

// line returns a message as one line that is short enough for a status.
func line(message string) string {
	runes := []rune(strings.Join(strings.Fields(message), " "))
	const limit = 600
	if len(runes) > limit {
		runes = append(runes[:limit], '…')
	}
	return string(runes)
}

// Verdict is what the policies say of a spec. The zero value is a spec that was not evaluated.
type Verdict struct {
	Asked   bool
	Result  policies.Result
	Failure *policies.EvaluationError // why there is no answer
}

// Problem returns why the policies do not allow a spec, or nil.
func (v Verdict) Problem() *Problem {
	if v.Failure != nil {
		return NewProblem(v1alpha1.ReasonPolicyError, "the policies could not be evaluated, so nothing was changed: "+v.Failure.Err.Error()+"; contact your administrator")
	}
	if denials := v.Result.Denials(); len(denials) > 0 {
		return &Problem{Reason: reasonOf(denials[0].ID), Message: denial(denials), Denied: true}
	}
	return nil
}

// reasonOf returns the id of a rule in the spelling of reasons: auth-none is AuthNone.
func reasonOf(rule string) string {
	var reason strings.Builder
	for word := range strings.SplitSeq(rule, "-") {
		reason.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return reason.String()
}

// denial is the first denial in full, and the rules of the others, each once.
func denial(denials []policies.Verdict) string {
	first := denials[0]
	text := fmt.Sprintf("%s (%s, rule %s). %s", first.Message, first.Path, first.ID, first.Remediation)
	var others []string
	for _, v := range denials {
		if v.ID != first.ID && !slices.Contains(others, v.ID) {
			others = append(others, v.ID)
		}
	}
	if len(others) > 0 {
		text += " Also denied by: " + strings.Join(others, ", ") + "."
	}
	return sentence(text)
}

// notes are the verdicts that deny nothing, in one line.
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
