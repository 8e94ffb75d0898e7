// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
)

// Facts are what a turn knows about a server before it writes anything, and the setbacks that it meets while it acts.
type Facts struct {
	// Intent is whether the server is to run.
	Intent Intent
	// Problem is why the spec cannot be applied. It is nil if it can.
	Problem *Problem
	// Verdict is what the policies say of the spec.
	Verdict Verdict
	// URL is where the spec is served, without any token.
	URL string
	// Spec is what the spec renders to. It is zero if a problem hides it.
	Spec Digests
	// Current is the newest revision of the release. It is nil before the first install.
	Current *v1alpha1.ReleaseStatus
	// SamePod reports whether applying the spec leaves the pod of the current revision as it is. It is only known, and only
	// used, if the operator alone changed while Jupyter runs.
	SamePod bool
	// LeavesRoute reports whether the spec gives up the route of the current revision, whose Ingress is gone: reapplying it
	// could take the route from another server.
	LeavesRoute bool
	// Set is the StatefulSet.
	Set SetState
	// Pod is the pod.
	Pod Pod
	// Upgrades is how the server is upgraded.
	Upgrades Upgrades
	Setbacks
}

// Intent is whether a server is to run, made once for each turn by IntentOf.
type Intent struct {
	// Stop reports whether the server is to have no pod.
	Stop bool
	// By is the setting that stops it, such as spec.suspend.
	By string
	// Message tells users that the server is stopped, and how to start it.
	Message string
}

// IntentOf returns whether a server is to run. The first setting that stops it wins.
func IntentOf(server *v1alpha1.JupyterServer) Intent {
	if server.Spec.Suspend {
		return Intent{Stop: true, By: "spec.suspend", Message: "The server is suspended; its files are kept. Set spec.suspend to false to start it again."}
	}
	return Intent{}
}

// Digests identify what a spec renders to.
type Digests struct {
	// Input is over everything that the manifest is made of.
	Input string
	// Spec leaves out what is the operator's: the chart, the post-renderer and the configuration.
	Spec string
}

// SetState is the state of a server's StatefulSet.
type SetState string

const (
	// SetAbsent means that there is no StatefulSet.
	SetAbsent SetState = "Absent"
	// SetScaled means that the StatefulSet asks for a pod.
	SetScaled SetState = "Scaled"
	// SetStopped means that the StatefulSet is scaled to zero.
	SetStopped SetState = "Stopped"
	// SetForeign means that the StatefulSet belongs to another owner.
	SetForeign SetState = "Foreign"
)

// Pod is what is known of a server's pod. The zero value is no pod.
type Pod struct {
	// Status is what the server's status shows. It is nil if there is no pod.
	Status *v1alpha1.PodStatus
	// StartedAt is when the Jupyter process started. It is nil while that does not run.
	StartedAt *metav1.Time
	// Ready reports whether the pod is ready and not on its way out.
	Ready bool
	// Current reports whether the pod was created from the newest template of the StatefulSet.
	Current bool
	// Runs reports whether the Jupyter process runs, so that a restart would lose kernels.
	Runs bool
	// Finding is why the pod does not run, or what is wrong with a pod that does. It is nil if nothing is.
	Finding *diagnosis.Finding
	// Failing reports whether the pod of the current revision fails for a reason that a rollback can fix.
	Failing bool
	// FailingFor is how long it has been failing.
	FailingFor time.Duration
}

// FixedByRollback reports whether another revision could fix a finding. Reasons outside of the revision do not count.
func FixedByRollback(finding *diagnosis.Finding) bool {
	if finding == nil || finding.Severity != diagnosis.Degraded {
		return false
	}
	switch finding.Reason {
	case "NodeLost", "NodeNotReady", "NodeShutdown", "Preempted", "Evicted", "Terminating",
		"SchedulerError", "ClaimLost", "PodNameTaken",
		v1alpha1.ReasonProviderUnreachable, v1alpha1.ReasonProviderInvalid, v1alpha1.ReasonClientRefused:
		return false
	}
	return true
}

// Upgrades is how servers are upgraded.
type Upgrades struct {
	// RestartRunning applies a new version of the operator although Jupyter runs.
	RestartRunning bool
	// Rollback rolls back a revision that does not start.
	Rollback bool
	// RollbackAfter is how long a revision has to be failing before it is rolled back.
	RollbackAfter time.Duration
}

// Setbacks are options that are gone. Each is found by acting, after which the turn decides again.
type Setbacks struct {
	// CurrentGone reports whether the record of the current revision is missing or was modified.
	CurrentGone bool
	// CurrentDenied reports whether the current revision cannot be reapplied: the policies deny it today, or the API server
	// rejects it.
	CurrentDenied bool
	// NoRollback is why the good revision cannot be rolled back to. It is empty if it can.
	NoRollback string
}

// Problem is why a spec cannot be applied. It is a normal state, not an error.
type Problem struct {
	// Reason is the reason of the conditions.
	Reason string
	// Message is one sentence: what is wrong, and what to do.
	Message string
	// Denied reports whether the policies deny the spec, so that no pod may be started for it.
	Denied bool
}

// Setback is what went wrong with a plan, so that another one is needed. Trying the same plan again soon is of no use.
type Setback interface{ apply(*Facts) }

// After returns the facts with the option gone that a setback took away.
func (f Facts) After(s Setback) Facts {
	s.apply(&f)
	return f
}

// SpecRejected means that the API server rejects what the spec renders to, or that another owner's object is in the way.
type SpecRejected struct{ Problem Problem }

func (s SpecRejected) apply(f *Facts) { f.Problem = &s.Problem }

// CurrentLost means that the record of the current revision is missing or was modified.
type CurrentLost struct{}

func (CurrentLost) apply(f *Facts) { f.CurrentGone = true }

// CurrentRejected means that the current revision cannot be reapplied: the policies deny it today, or the API server rejects
// it.
type CurrentRejected struct{ Problem Problem }

func (s CurrentRejected) apply(f *Facts) {
	f.CurrentDenied = true
	if f.Problem == nil {
		f.Problem = &s.Problem
	}
}

// RollbackImpossible means that the good revision cannot be rolled back to.
type RollbackImpossible struct{ Why string }

func (s RollbackImpossible) apply(f *Facts) { f.NoRollback = s.Why }
