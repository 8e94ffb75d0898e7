// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	kjson "sigs.k8s.io/json"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Path is where the API server asks.
const Path = "/validate-jupyterserver"

// Lookup is what has to be looked up before the policies can be asked.
type Lookup struct {
	// Namespace reads a namespace.
	Namespace func(ctx context.Context, name string) (policies.Namespace, error)
	// Routes gives the judge.Case.Routes of a server. Nil: other servers are not looked at.
	Routes func(server *v1alpha1.JupyterServer) func(ctx context.Context, own []policies.Route) ([]policies.Route, error)
}

// Handler answers whether a JupyterServer may be stored. It is safe for concurrent use.
type Handler struct {
	// Judge answers.
	Judge *judge.Judge
	// Cluster is where it is looked up what the Judge has to know besides.
	Cluster Lookup
}

// question is what the API server asks.
type question struct {
	operation policies.Operation
	server    *v1alpha1.JupyterServer
	old       *v1alpha1.JupyterServer // nil for a new server
	user      policies.User
	// sameSpec and onlySuspends say how little an update does, without the policies' help.
	sameSpec, onlySuspends bool
}

// Handle implements admission.Handler.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	if !concerns(request) {
		return admission.Allowed("")
	}
	q, err := read(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if q.old != nil && !q.server.DeletionTimestamp.IsZero() {
		return admission.Allowed("") // it goes, and whoever holds a finalizer must be able to let it go
	}
	result, err := h.ask(ctx, q)
	if err != nil {
		return failed(ctx, q, err)
	}
	if result.Denied() {
		return admission.Denied(refusal(result.Denials())).WithWarnings(warnings(result.Warnings())...)
	}
	return admission.Allowed("").WithWarnings(warnings(result.Warnings())...)
}

// concerns says whether a spec of ours may change. Everything else passes: a mistake in the rules of the
// ValidatingWebhookConfiguration must not stop a cluster.
func concerns(request admission.Request) bool {
	if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update {
		return false
	}
	return request.Kind.Group == v1alpha1.GroupVersion.Group && request.Kind.Kind == v1alpha1.Kind && request.SubResource == ""
}

// unreadableError says that a spec has a value that the schema lets pass and that cannot be decoded.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string {
	return "the spec holds a value that Kubernetes does not take: " + e.err.Error()
}

func (h *Handler) ask(ctx context.Context, q question) (policies.Result, error) {
	if err := q.server.Spec.Unreadable(); err != nil {
		return policies.Result{}, &unreadableError{err}
	}
	namespace, err := h.Cluster.Namespace(ctx, q.server.Namespace)
	if err != nil {
		return policies.Result{}, err
	}
	c := judge.Case{Operation: q.operation, Server: q.server, Old: q.old, Namespace: namespace, User: q.user}
	if h.Cluster.Routes != nil {
		c.Routes = h.Cluster.Routes(q.server)
	}
	if q.old != nil && q.old.Spec.Unreadable() != nil {
		c.Old = nil // what it was cannot be told, so the new spec has to stand for itself
	}
	return h.Judge.Ask(ctx, c)
}

// failed answers where the policies did not.
func failed(ctx context.Context, q question, err error) admission.Response {
	var (
		unreadable *unreadableError
		render     *judge.RenderError
		evaluation *policies.EvaluationError
	)
	forAuthor := errors.As(err, &unreadable) || errors.As(err, &render)
	if forAuthor && (q.sameSpec || q.onlySuspends) {
		return admission.Allowed("").WithWarnings(shorten(sentence(err.Error()) + " This change does not touch that, so it passes."))
	}
	if forAuthor {
		return refused(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, sentence(err.Error()))
	}
	log.FromContext(ctx).Error(err, "a server could not be judged")
	if q.onlySuspends {
		return admission.Allowed("").WithWarnings(shorten(policies.ReasonPolicyError +
			": the policies gave no answer. This change only suspends the server, so it passes. Tell the admin: " + err.Error()))
	}
	if errors.As(err, &evaluation) {
		return refused(http.StatusInternalServerError, policies.ReasonPolicyError, policyError(evaluation))
	}
	return refused(http.StatusInternalServerError, metav1.StatusReasonInternalError,
		fmt.Sprintf("the policies could not be asked, so nothing was changed: %s. Try again, and tell the admin of the cluster if it stays so.", unpointed(err.Error())))
}

func refused(code int32, reason metav1.StatusReason, message string) admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Result: &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message},
	}}
}

func read(request admission.Request) (question, error) {
	if version := v1alpha1.GroupVersion.Version; request.Kind.Version != version {
		return question{}, fmt.Errorf("this is a %s of version %s, but %s is known: mend the ValidatingWebhookConfiguration", v1alpha1.Kind, request.Kind.Version, version)
	}
	q := question{
		operation: policies.Create,
		user:      policies.User{Name: request.UserInfo.Username, Groups: request.UserInfo.Groups},
	}
	var err error
	if q.server, err = decode("object", request.Object.Raw, request); err != nil || request.Operation == admissionv1.Create {
		return q, err
	}
	q.operation = policies.Update
	if q.old, err = decode("oldObject", request.OldObject.Raw, request); err != nil {
		return question{}, err
	}
	q.sameSpec, q.onlySuspends, err = compare(request.OldObject.Raw, request.Object.Raw)
	return q, err
}

func decode(field string, raw []byte, request admission.Request) (*v1alpha1.JupyterServer, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, fmt.Errorf("the request has no %s", field)
	}
	server := &v1alpha1.JupyterServer{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, server); err != nil {
		return nil, fmt.Errorf("reading the %s: %w", field, err)
	}
	server.Namespace = request.Namespace
	if server.Name == "" {
		server.Name = request.Name
	}
	if server.Name == "" { // the API server chooses a name before it asks; this is for others that ask
		server.Name = server.GenerateName + "xxxxx"
	}
	return server, nil
}

// compare says how little an update does to the spec. It looks at what was sent, so it can tell of specs that cannot be read too.
func compare(oldRaw, raw []byte) (sameSpec, onlySuspends bool, err error) {
	var before, after struct {
		Spec map[string]any `json:"spec"`
	}
	if err := errors.Join(kjson.UnmarshalCaseSensitivePreserveInts(oldRaw, &before), kjson.UnmarshalCaseSensitivePreserveInts(raw, &after)); err != nil {
		return false, false, fmt.Errorf("comparing the specs: %w", err)
	}
	if reflect.DeepEqual(before.Spec, after.Spec) {
		return true, false, nil
	}
	if before.Spec["suspend"] == true || after.Spec["suspend"] != true {
		return false, false, nil
	}
	delete(before.Spec, "suspend")
	delete(after.Spec, "suspend")
	return false, reflect.DeepEqual(before.Spec, after.Spec), nil
}
