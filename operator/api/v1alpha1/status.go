// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State summarizes the server in one word.
//
// +kubebuilder:validation:Enum=Pending;Starting;Running;Suspending;Suspended;Failed;Terminating
type State string

const (
	// StatePending means that nothing has been installed yet.
	StatePending State = "Pending"
	// StateStarting means that the pod is being created or started.
	StateStarting State = "Starting"
	// StateRunning means that the server responds.
	StateRunning State = "Running"
	// StateSuspending means that the pod is being stopped.
	StateSuspending State = "Suspending"
	// StateSuspended means that the pod is stopped and the volume is kept.
	StateSuspended State = "Suspended"
	// StateFailed means that the server needs manual action, which the status message describes.
	StateFailed State = "Failed"
	// StateTerminating means that the server is being deleted.
	StateTerminating State = "Terminating"
)

// Condition types. Ready, Reconciling and Stalled follow kstatus
// (sigs.k8s.io/cli-utils/pkg/kstatus), so that `kubectl wait` and GitOps tools understand them.
const (
	// ConditionReady is True while the server responds, or is suspended as requested.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator or Kubernetes is still working on the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while no progress is possible without manual action.
	ConditionStalled = "Stalled"
	// ConditionPolicyCompliant is True while the policies allow the spec.
	ConditionPolicyCompliant = "PolicyCompliant"
	// ConditionReleased is True while the Helm release contains the spec.
	ConditionReleased = "Released"
	// ConditionUpToDate is False while an upgrade of the operator or its configuration is pending until the server stops.
	ConditionUpToDate = "UpToDate"
)

// Reasons of conditions that the operator itself sets. Reasons that come from the pod are those of Kubernetes.
const (
	// ReasonRunning means that the server responds.
	ReasonRunning = "Running"
	// ReasonSuspended means that the server was stopped as requested.
	ReasonSuspended = "Suspended"
	// ReasonSuspending means that the pod is being stopped.
	ReasonSuspending = "Suspending"
	// ReasonStarting means that the pod is being created or started.
	ReasonStarting = "Starting"
	// ReasonSecretInvalid means that a Secret that the spec names holds a token or a client secret that cannot be sent: it has white
	// space at its ends, or other characters than printable ASCII.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonBundleInvalid means that spec.auth.oidc.caBundle contains no certificate.
	ReasonBundleInvalid = "BundleInvalid"
	// ReasonAccessNotReady means that the access control in front of Jupyter does not work yet.
	ReasonAccessNotReady = "AccessNotReady"
	// ReasonProviderUnreachable means that the OpenID provider does not respond, so new sign-ins fail.
	ReasonProviderUnreachable = "ProviderUnreachable"
	// ReasonProviderInvalid means that the issuer's URL does not serve an OpenID provider of that name.
	ReasonProviderInvalid = "ProviderInvalid"
	// ReasonClientRefused means that the OpenID provider rejects the client, so no user can sign in.
	ReasonClientRefused = "ClientRefused"
	// ReasonNameConflict means that a required object name is taken by an object with another owner.
	ReasonNameConflict = "NameConflict"
	// ReasonReleaseConflict means that the name of the Helm release is taken by a release of another owner.
	ReasonReleaseConflict = "ReleaseConflict"
	// ReasonReferenceNotFound means that a Secret, ConfigMap or claim that the spec names does not exist.
	ReasonReferenceNotFound = "ReferenceNotFound"
	// ReasonSpecUnreadable means that the spec contains a value that the schema allows but Kubernetes does not accept.
	ReasonSpecUnreadable = "SpecUnreadable"
	// ReasonClaimOwned means that spec.storage.existingClaim is a claim that the operator created for a server.
	ReasonClaimOwned = "ClaimOwned"
	// ReasonRenderFailed means that the spec could not be rendered to objects.
	ReasonRenderFailed = "RenderFailed"
	// ReasonApplyRefused means that the API server rejected an object.
	ReasonApplyRefused = "ApplyRefused"
	// ReasonApplyFailed means that applying failed and is retried.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonContested means that another client keeps changing or deleting an object of the server, so the operator backs off
	// before reverting it.
	ReasonContested = "Contested"
	// ReasonCompliant means that the policies allow the spec. If they do not, the reason is the id of the rule, such as AuthNone
	// for auth-none.
	ReasonCompliant = "Compliant"
	// ReasonExempt means that the policies would deny the spec without an exemption.
	ReasonExempt = "Exempt"
	// ReasonPolicyError means that the policy evaluation failed, so nothing was changed.
	ReasonPolicyError = "PolicyError"
	// ReasonNotJudged means that the policies were not evaluated, because the spec is blocked for another reason.
	ReasonNotJudged = "NotJudged"
	// ReasonReleased means that the Helm release contains the spec.
	ReasonReleased = "Released"
	// ReasonRolledBack means that the spec failed to start and an earlier revision runs instead.
	ReasonRolledBack = "RolledBack"
	// ReasonUpToDate means that the release is what this operator renders from the spec.
	ReasonUpToDate = "UpToDate"
	// ReasonWaitsForStop means that an upgrade of the operator or its configuration would restart a running server.
	ReasonWaitsForStop = "WaitsForStop"
)

// JupyterServerStatus is the state that the operator observed last.
type JupyterServerStatus struct {
	// ObservedGeneration is the generation of the spec that the status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// State summarizes the server in one word.
	// +optional
	State State `json:"state,omitempty"`
	// URL is the address of the server. It never contains a token.
	// +optional
	URL string `json:"url,omitempty"`
	// Message is the root cause of a problem and how to fix it, in one sentence.
	// +optional
	Message string `json:"message,omitempty"`
	// Conditions are Ready, Reconciling, Stalled, PolicyCompliant, Released and UpToDate.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Release is the Helm release of the server.
	// +optional
	Release *ReleaseStatus `json:"release,omitempty"`
	// Pod is the pod of the server.
	// +optional
	Pod *PodStatus `json:"pod,omitempty"`
	// StartedAt is when the running Jupyter process started.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
}

// ReleaseStatus is the Helm release of a server.
type ReleaseStatus struct {
	// Name is the name of the release: `helm get all NAME`.
	Name string `json:"name"`
	// Revision is the newest revision.
	Revision int `json:"revision"`
	// InputDigest is a digest of everything that the release was rendered from. While it is the same, nothing is applied. It is
	// empty after a rollback.
	InputDigest string `json:"inputDigest"`
	// SpecDigest is a digest of the spec and of the secrets it refers to. While it is the same, the user requested no change.
	// +optional
	SpecDigest string `json:"specDigest,omitempty"`
	// Generation is the generation of the newest spec in the release. It is 0 if the release does not match a spec as submitted.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// RecordDigest is a digest of the manifest and the values in the revision's record. A record with another digest is not trusted.
	// +optional
	RecordDigest string `json:"recordDigest,omitempty"`
	// GoodRevision is the newest revision that has been ready.
	// +optional
	GoodRevision int `json:"goodRevision,omitempty"`
	// GoodRecordDigest is the RecordDigest of that revision.
	// +optional
	GoodRecordDigest string `json:"goodRecordDigest,omitempty"`
	// RolledBack is the revision that was rolled back and is not retried. It is unset if there is none.
	// +optional
	RolledBack *RolledBack `json:"rolledBack,omitempty"`
}

// RolledBack is a revision that failed to start and was rolled back.
type RolledBack struct {
	// Revision is the number of the revision that failed to start.
	Revision int `json:"revision"`
	// InputDigest is the InputDigest of that revision.
	InputDigest string `json:"inputDigest"`
	// SpecDigest is the SpecDigest of that revision.
	SpecDigest string `json:"specDigest"`
	// Message is the reason why it failed to start.
	Message string `json:"message"`
}

// PodStatus is the pod of a server.
type PodStatus struct {
	// Name is the pod's name.
	Name string `json:"name"`
	// Ready reports whether the server responds.
	Ready bool `json:"ready"`
	// Restarts is the number of restarts of the Jupyter container in this pod.
	Restarts int32 `json:"restarts"`
}
