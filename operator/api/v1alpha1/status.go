// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is the one word that says how a server is.
//
// +kubebuilder:validation:Enum=Pending;Starting;Running;Suspending;Suspended;Failed;Terminating
type State string

const (
	// StatePending means that nothing was installed yet.
	StatePending State = "Pending"
	// StateStarting means that the pod is on its way.
	StateStarting State = "Starting"
	// StateRunning means that the server answers.
	StateRunning State = "Running"
	// StateSuspending means that the pod is being stopped.
	StateSuspending State = "Suspending"
	// StateSuspended means that the pod is stopped and the volume is kept.
	StateSuspended State = "Suspended"
	// StateFailed means that somebody has to do something; message says who and what.
	StateFailed State = "Failed"
	// StateTerminating means that the server is being deleted.
	StateTerminating State = "Terminating"
)

// Condition types. Ready, Reconciling and Stalled follow kstatus
// (sigs.k8s.io/cli-utils/pkg/kstatus), so that `kubectl wait` and GitOps tools understand them.
const (
	// ConditionReady is True while the server answers, or is suspended as asked.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator or Kubernetes still works on the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while nothing will change until somebody does something.
	ConditionStalled = "Stalled"
	// ConditionPolicyCompliant is True while the admin's rules allow the spec.
	ConditionPolicyCompliant = "PolicyCompliant"
	// ConditionReleased is True while the Helm release holds the spec.
	ConditionReleased = "Released"
	// ConditionUpToDate is False while a new version or configuration of the operator waits for the server to stop.
	ConditionUpToDate = "UpToDate"
)

// Reasons of conditions that the operator itself decides on. Reasons that come from the pod are those of Kubernetes.
const (
	// ReasonRunning says that the server answers.
	ReasonRunning = "Running"
	// ReasonSuspended says that the server was stopped as asked.
	ReasonSuspended = "Suspended"
	// ReasonSuspending says that the pod is being stopped.
	ReasonSuspending = "Suspending"
	// ReasonStarting says that the pod is on its way.
	ReasonStarting = "Starting"
	// ReasonBundleInvalid says that spec.auth.oidc.caBundle holds no certificate.
	ReasonBundleInvalid = "BundleInvalid"
	// ReasonAccessNotReady says that the access control in front of Jupyter does not answer as it should.
	ReasonAccessNotReady = "AccessNotReady"
	// ReasonProviderUnreachable says that the OpenID provider does not answer: new sign-ins fail.
	ReasonProviderUnreachable = "ProviderUnreachable"
	// ReasonProviderInvalid says that what answers at the issuer's URL is no OpenID provider of that name.
	ReasonProviderInvalid = "ProviderInvalid"
	// ReasonClientRefused says that the OpenID provider refuses the client: nobody can sign in.
	ReasonClientRefused = "ClientRefused"
	// ReasonNameConflict says that an object of a needed name belongs to somebody else.
	ReasonNameConflict = "NameConflict"
	// ReasonReleaseConflict says that a Helm release of the name belongs to somebody else.
	ReasonReleaseConflict = "ReleaseConflict"
	// ReasonReferenceNotFound says that a Secret, ConfigMap or claim that the spec names does not exist.
	ReasonReferenceNotFound = "ReferenceNotFound"
	// ReasonSpecUnreadable says that the spec holds a value that the schema lets pass and Kubernetes does not take.
	ReasonSpecUnreadable = "SpecUnreadable"
	// ReasonClaimOwned says that spec.storage.existingClaim is a claim that the operator made for a server.
	ReasonClaimOwned = "ClaimOwned"
	// ReasonRenderFailed says that the spec could not be turned into objects.
	ReasonRenderFailed = "RenderFailed"
	// ReasonApplyRefused says that the API server refused an object.
	ReasonApplyRefused = "ApplyRefused"
	// ReasonApplyFailed says that applying failed and is tried again.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonContested says that somebody else changes or deletes an object of the server again and again, so that the operator
	// waits longer and longer before it puts it back.
	ReasonContested = "Contested"
	// ReasonCompliant says that the policies allow the spec. Where they do not, the reason is the id of the rule, such as
	// AuthNone for auth-none.
	ReasonCompliant = "Compliant"
	// ReasonExempt says that the policies would refuse the spec, were it not for an exemption of the admin's.
	ReasonExempt = "Exempt"
	// ReasonPolicyError says that the policies gave no answer, so that nothing was changed.
	ReasonPolicyError = "PolicyError"
	// ReasonNotJudged says that the policies were not asked, because the spec is blocked before.
	ReasonNotJudged = "NotJudged"
	// ReasonReleased says that the Helm release holds the spec.
	ReasonReleased = "Released"
	// ReasonRolledBack says that the spec did not start, and that an earlier revision runs instead.
	ReasonRolledBack = "RolledBack"
	// ReasonUpToDate says that the release is what this operator makes of the spec.
	ReasonUpToDate = "UpToDate"
	// ReasonWaitsForStop says that a new version or configuration of the operator would restart a server that runs.
	ReasonWaitsForStop = "WaitsForStop"
)

// JupyterServerStatus is what the operator saw last.
type JupyterServerStatus struct {
	// ObservedGeneration is the generation of the spec that the rest of the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// State is the one word that says how the server is.
	// +optional
	State State `json:"state,omitempty"`
	// URL is where the server is reached. It never carries a token.
	// +optional
	URL string `json:"url,omitempty"`
	// Message is one sentence: the root cause of what is wrong, and what to do.
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
	// InputDigest is a digest of everything that the release was made of. While it is the same, nothing is applied. Empty after
	// a rollback.
	InputDigest string `json:"inputDigest"`
	// SpecDigest is a digest of the spec, and of the secrets it refers to. While it is the same, the server asks for nothing new.
	// +optional
	SpecDigest string `json:"specDigest,omitempty"`
	// Generation is that of the newest spec that the release holds. Zero: what it holds is no spec as it was given.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// RecordDigest is a digest of the manifest and the values in the record of the revision. Another record is not believed.
	// +optional
	RecordDigest string `json:"recordDigest,omitempty"`
	// GoodRevision is the newest revision with which the server has been ready.
	// +optional
	GoodRevision int `json:"goodRevision,omitempty"`
	// GoodRecordDigest is the RecordDigest of that revision.
	// +optional
	GoodRecordDigest string `json:"goodRecordDigest,omitempty"`
	// RolledBack is what was taken back, and is not tried again. Nil: nothing.
	// +optional
	RolledBack *RolledBack `json:"rolledBack,omitempty"`
}

// RolledBack is a revision that did not start and was taken back.
type RolledBack struct {
	// Revision is the one that did not start.
	Revision int `json:"revision"`
	// InputDigest is what that revision was made of.
	InputDigest string `json:"inputDigest"`
	// SpecDigest is that of its spec.
	SpecDigest string `json:"specDigest"`
	// Message is why it did not start.
	Message string `json:"message"`
}

// PodStatus is the pod of a server.
type PodStatus struct {
	// Name is the pod's name.
	Name string `json:"name"`
	// Ready says whether the server answers.
	Ready bool `json:"ready"`
	// Restarts is how often the Jupyter container was restarted in this pod.
	Restarts int32 `json:"restarts"`
}
