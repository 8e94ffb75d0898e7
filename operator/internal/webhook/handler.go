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

// Path is the URL path of the webhook.
const Path = "/validate-jupyterserver"

// Lookup reads what the policies need to know of the cluster.
type Lookup struct {
	// Namespace reads a namespace.
	Namespace func(ctx context.Context, name string) (policies.Namespace, error)
	// Routes returns the judge.Case.Routes of a server. If nil, other servers are not considered.
	Routes func(server *v1alpha1.JupyterServer) func(ctx context.Context, own []policies.Route) ([]policies.Route, error)
}

// Handler decides whether a JupyterServer may be stored. It is safe for concurrent use.
type Handler struct {
	// Judge evaluates the policies.
	Judge *judge.Judge
	// Cluster reads what the Judge needs to know of the cluster.
	Cluster Lookup
}

// review is a decoded admission request.
type review struct {
	operation policies.Operation
	server    *v1alpha1.JupyterServer
	old       *v1alpha1.JupyterServer // nil for a new server
	user      policies.User
	// sameSpec and onlySuspends report how little an update changes, independent of the policies.
	sameSpec, onlySuspends bool
}

// Handle implements admission.Handler.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	if !concerns(request) {
		return admission.Allowed("")
	}
	r, err := decodeReview(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if r.old != nil && !r.server.DeletionTimestamp.IsZero() {
		return admission.Allowed("") // it is being deleted, and finalizers must be removable
	}
	result, err := h.evaluate(ctx, r)
	if err != nil {
		return errorResponse(ctx, r, err)
	}
	if result.Denied() {
		return admission.Denied(denialMessage(result.Denials())).WithWarnings(warnings(result.Warnings())...)
	}
	return admission.Allowed("").WithWarnings(warnings(result.Warnings())...)
}

// concerns reports whether a request can change a spec of ours. Everything else is allowed: an error in the rules of the
// ValidatingWebhookConfiguration must not block a cluster.
func concerns(request admission.Request) bool {
	if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update {
		return false
	}
	return request.Kind.Group == v1alpha1.GroupVersion.Group && request.Kind.Kind == v1alpha1.Kind && request.SubResource == ""
}

// unreadableError means that a spec contains a value that the schema allows and that cannot be decoded.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string {
	return "the spec contains a value that Kubernetes does not accept: " + e.err.Error()
}

func (h *Handler) evaluate(ctx context.Context, r review) (policies.Result, error) {
	if err := r.server.Spec.Unreadable(); err != nil {
		return policies.Result{}, &unreadableError{err}
	}
	namespace, err := h.Cluster.Namespace(ctx, r.server.Namespace)
	if err != nil {
		return policies.Result{}, err
	}
	c := judge.Case{Operation: r.operation, Server: r.server, Old: r.old, Namespace: namespace, User: r.user}
	if h.Cluster.Routes != nil {
		c.Routes = h.Cluster.Routes(r.server)
	}
	if r.old != nil && r.old.Spec.Unreadable() != nil {
		c.Old = nil // the old spec cannot be read, so the new one is evaluated on its own
	}
	return h.Judge.Ask(ctx, c)
}

// errorResponse answers a request whose evaluation failed.
func errorResponse(ctx context.Context, r review, err error) admission.Response {
	var (
		unreadable *unreadableError
		render     *judge.RenderError
		evaluation *policies.EvaluationError
	)
	forAuthor := errors.As(err, &unreadable) || errors.As(err, &render)
	if forAuthor && (r.sameSpec || r.onlySuspends) {
		return admission.Allowed("").WithWarnings(shorten(sentence(err.Error()) + " This change does not affect that, so it is allowed."))
	}
	if forAuthor {
		return rejected(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, sentence(err.Error()))
	}
	log.FromContext(ctx).Error(err, "policy evaluation failed")
	if r.onlySuspends {
		return admission.Allowed("").WithWarnings(shorten(policies.ReasonPolicyError +
			": the policy evaluation failed. This change only suspends the server, so it is allowed. Contact your administrator: " + err.Error()))
	}
	if errors.As(err, &evaluation) {
		return rejected(http.StatusInternalServerError, policies.ReasonPolicyError, policyError(evaluation))
	}
	return rejected(http.StatusInternalServerError, metav1.StatusReasonInternalError,
		fmt.Sprintf("the policies could not be evaluated, so nothing was changed: %s. Try again, and contact your administrator if this persists.", trimStop(err.Error())))
}

func rejected(code int32, reason metav1.StatusReason, message string) admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Result: &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message},
	}}
}

func decodeReview(request admission.Request) (review, error) {
	if version := v1alpha1.GroupVersion.Version; request.Kind.Version != version {
		return review{}, fmt.Errorf("unsupported %s version %s, want %s: fix the ValidatingWebhookConfiguration", v1alpha1.Kind, request.Kind.Version, version)
	}
	r := review{
		operation: policies.Create,
		user:      policies.User{Name: request.UserInfo.Username, Groups: request.UserInfo.Groups},
	}
	var err error
	if r.server, err = decode("object", request.Object.Raw, request); err != nil || request.Operation == admissionv1.Create {
		return r, err
	}
	r.operation = policies.Update
	if r.old, err = decode("oldObject", request.OldObject.Raw, request); err != nil {
		return review{}, err
	}
	r.sameSpec, r.onlySuspends, err = compare(request.OldObject.Raw, request.Object.Raw)
	return r, err
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
	if server.Name == "" { // the API server generates the name before it calls the webhook, other clients may not
		server.Name = server.GenerateName + "xxxxx"
	}
	return server, nil
}

// compare reports how little an update changes. It compares the raw specs, so that it also works for unreadable ones.
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
