// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
)

// Facts are what a turn knows about a server before it writes anything, and the options that it found to be gone while it acted.
type Facts struct {
	Intent   Intent                  // whether the server is to run
	Problem  *Problem                // why the spec cannot be applied; nil: it can
	Verdict  Verdict                 // what the policies say of the spec
	URL      string                  // where the spec is served, without any token
	Spec     Digests                 // what the spec renders to; zero if a problem hides it
	Current  *v1alpha1.ReleaseStatus // the newest revision of the release; nil before the first install
	Set      SetState
	Pod      Pod
	Upgrades Upgrades

	// SamePod reports whether applying the spec leaves the pod of the current revision as it is. It is only known, and only
	// used, if ComparesPods.
	SamePod bool
	// LeavesRoute reports whether the spec gives up the route of the current revision, whose Ingress is gone: reapplying it
	// could take the route from another server.
	LeavesRoute bool

	CurrentGone   bool   // the record of the current revision is missing or was modified
	CurrentDenied bool   // the current revision cannot be reapplied
	NoRollback    string // why the good revision cannot be rolled back to; empty: it can
}

// Setback is what went wrong with a plan, so that another one is needed. Trying the same plan again soon is of no use. The zero
// value is none.
type Setback struct {
	SpecRejected    *Problem // the API server rejects what the spec renders to, or another owner's object is in the way
	CurrentGone     bool     // the record of the current revision is missing or was modified
	CurrentRejected *Problem // the policies deny the current revision today, or the API server rejects it
	NoRollback      string   // why the good revision cannot be rolled back to
}

// After returns the facts with the option gone that a setback took away.
func (f Facts) After(s Setback) Facts {
	f.Problem = cmp.Or(s.SpecRejected, f.Problem, s.CurrentRejected)
	f.CurrentGone = f.CurrentGone || s.CurrentGone
	f.CurrentDenied = f.CurrentDenied || s.CurrentRejected != nil
	f.NoRollback = cmp.Or(s.NoRollback, f.NoRollback)
	return f
}

// Intent is whether a server is to run, made once for each turn by IntentOf.
type Intent struct {
	Stop    bool   // the server is to have no pod
	By      string // the setting that stops it, such as spec.suspend
	Reason  string // of the condition Ready, once the server is stopped
	Message string // tells users that the server is stopped, and how to start it
}

// IntentOf returns whether a server is to run. The first setting that stops it wins.
func IntentOf(server *v1alpha1.JupyterServer) Intent {
	if server.Spec.Suspend {
		return Intent{
			Stop: true, By: "spec.suspend", Reason: v1alpha1.ReasonSuspended,
			Message: "The server is suspended; its files are kept. Set spec.suspend to false to start it again.",
		}
	}
	return Intent{}
}

// Digests identify what a spec renders to.
type Digests struct {
	Input string // over everything that the manifest is made of
	Spec  string // without what is the operator's: the chart, the post-renderer and the configuration
}

// SetState is the state of a server's StatefulSet: there is none, it asks for a pod, it is scaled to zero, or it belongs to another
// owner.
type SetState string

// States of a StatefulSet.
const (
	SetAbsent  SetState = "Absent"
	SetScaled  SetState = "Scaled"
	SetStopped SetState = "Stopped"
	SetForeign SetState = "Foreign"
)

// Pod is what is known of a server's pod. The zero value is no pod.
type Pod struct {
	Status    *v1alpha1.PodStatus // as the server's status shows it
	StartedAt *metav1.Time        // when the Jupyter process started; nil while that does not run
	Ready     bool                // and not on its way out
	Current   bool                // created from the newest template of the StatefulSet
	Runs      bool                // the Jupyter process runs, so that a restart would lose kernels

	Finding    *diagnosis.Finding // why the pod does not run, or what is wrong with a pod that does
	Failing    bool               // the pod of the current revision fails for a reason that a rollback can fix
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
	RestartRunning bool          // a new version of the operator is applied although Jupyter runs
	Rollback       bool          // a revision that does not start is rolled back
	RollbackAfter  time.Duration // how long it has to be failing before
}
