// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

// verdictLife is how long a verdict about an unchanged server is believed. Some rules look at other servers, and nothing wakes a
// server that only gets a warning for their sake.
const verdictLife = 10 * time.Minute

// Gatherer finds facts. It is safe for concurrent use on different servers.
type Gatherer struct {
	Cached   client.Reader // the informers
	Live     client.Reader // the API server
	Renderer *render.Renderer
	Judge    *judge.Judge
	Cluster  judge.Cluster
	Releases *release.Releaser
	Access   *http.Client // asks the access control in pods, see NewAccessClient
	Clock    clock.PassiveClock
	Upgrades config.Release

	events sharedEvents
}

// Memo is what this process remembers of one server between turns. All of it may be lost. One goroutine at a time uses it.
type Memo struct {
	evaluated *evaluated
	failing   failing
	bundle    bundle
	access    lastAccess
}

// Facts are the facts of a turn, and what acting on them needs.
type Facts struct {
	reconcile.Facts
	// Rendered is what the spec renders to. It is nil if a problem hides it, or if an unchanged server did not need it.
	Rendered *render.Rendered
	// References are digests of what the spec refers to.
	References render.References
	// Inputs identify everything that the objects of the spec and its verdict follow from, but for the routes of other servers.
	Inputs string
	// Credentials is the plan for the credentials Secret of the spec.
	Credentials credentials.Plan
	// Recorded is the current revision, if it had to be read. It is nil otherwise.
	Recorded *render.Rendered
	// StatefulSet and PodObject are the server's own. They are nil if there is none.
	StatefulSet *appsv1.StatefulSet
	PodObject   *corev1.Pod
	// LookAgain is when to look again although nothing changes. Zero: never.
	LookAgain time.Duration

	bundle string // digest of the certificates
}

// Facts returns the facts about a server whose newest revision is current. An error is worth another try.
func (g *Gatherer) Facts(ctx context.Context, server *v1alpha1.JupyterServer, current *v1alpha1.ReleaseStatus, memo *Memo, releases *release.Memo) (Facts, error) {
	f := Facts{Facts: reconcile.Facts{
		Intent:   reconcile.IntentOf(server),
		Current:  current,
		URL:      g.Renderer.URL(server),
		Upgrades: g.upgradesOf(server),
	}}
	for _, find := range []func(context.Context, *v1alpha1.JupyterServer, *Memo, *release.Memo, *Facts) error{
		g.findWorkload,
		g.findSpec,
		g.findRecord,
		g.findRoute,
		g.findTrouble,
	} {
		if err := find(ctx, server, memo, releases, &f); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (g *Gatherer) upgradesOf(server *v1alpha1.JupyterServer) reconcile.Upgrades {
	u := reconcile.Upgrades{RestartRunning: g.Upgrades.RestartRunning, Rollback: g.Upgrades.RollbackOnFailure, RollbackAfter: g.Upgrades.RollbackAfter.Duration}
	if own := server.Spec.Release; own != nil && own.RollbackOnFailure != nil {
		u.Rollback = *own.RollbackOnFailure
	}
	return u
}

// RefOf returns the objects that belong to a server.
func RefOf(server *v1alpha1.JupyterServer, current *v1alpha1.ReleaseStatus) objects.Ref {
	return objects.Ref{
		Namespace: server.Namespace, Name: server.Name, UID: server.UID,
		Installed: current != nil, Retain: server.Spec.Storage.Retain,
	}
}

// findSpec resolves, renders and evaluates the spec. What is missing is only reported of a spec that the policies allow. An
// unchanged server keeps what was found last.
func (g *Gatherer) findSpec(ctx context.Context, server *v1alpha1.JupyterServer, memo *Memo, _ *release.Memo, f *Facts) error {
	if err := server.Spec.Unreadable(); err != nil {
		f.Problem = reconcile.NewProblem(v1alpha1.ReasonSpecUnreadable, "the spec holds a value that Kubernetes rejects: "+err.Error())
		return nil
	}
	problem, err := g.resolve(ctx, server, memo, f)
	if err != nil {
		return err
	}
	if problem != nil {
		if f.Verdict, f.Problem, err = g.Evaluate(ctx, server, nil); err != nil {
			return err
		}
		if f.Problem == nil {
			f.Problem = problem
		}
		return nil
	}
	if f.Inputs, err = g.inputsOf(ctx, server, f.References); err != nil {
		return err
	}
	if known := memo.evaluated; known.holds(f, g.Clock.Now()) && !f.Credentials.Writes() {
		f.Spec, f.Verdict, f.SamePod = known.spec, known.verdict, known.samePod
		return nil
	}
	if f.Rendered, err = g.Renderer.Render(server, f.References); err != nil {
		f.Problem = reconcile.NewProblem(v1alpha1.ReasonRenderFailed, "the spec cannot be rendered: "+err.Error())
		return nil
	}
	f.Spec = reconcile.Digests{Input: f.Rendered.Digest, Spec: f.Rendered.SpecDigest}
	f.Verdict, f.Problem, err = g.Evaluate(ctx, server, f.Rendered)
	return err
}

// evaluated is what was found of the spec of a server that the policies allow.
type evaluated struct {
	inputs   string
	revision int
	released string // input digest
	spec     reconcile.Digests
	verdict  reconcile.Verdict
	samePod  bool
	at       time.Time
}

func (e *evaluated) holds(f *Facts, now time.Time) bool {
	return e != nil && f.Current != nil && e.inputs == f.Inputs && e.revision == f.Current.Revision && e.released == f.Current.InputDigest &&
		now.Sub(e.at) <= verdictLife
}

// Keep remembers the facts of a turn that succeeded, with the release that it left. A spec with a problem is looked at in every
// turn.
func (g *Gatherer) Keep(memo *Memo, f Facts, current *v1alpha1.ReleaseStatus) {
	if f.Problem != nil || f.Rendered == nil || current == nil {
		return
	}
	memo.evaluated = &evaluated{f.Inputs, current.Revision, current.InputDigest, f.Spec, f.Verdict, f.SamePod, g.Clock.Now()}
}

// NoteNoRollback remembers why a revision cannot be rolled back, so that it is not tried in every turn.
func (m *Memo) NoteNoRollback(why string) { m.failing.noRollback = why }

// inputsOf digests everything that the objects of a server and its verdict follow from, but for the routes of other servers.
func (g *Gatherer) inputsOf(ctx context.Context, server *v1alpha1.JupyterServer, refs render.References) (string, error) {
	namespace, err := g.Cluster.Namespace(ctx, server.Namespace)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal([]any{server.UID, server.Generation, server.Labels, server.Annotations, refs, namespace, g.Judge.Version()})
	if err != nil {
		return "", fmt.Errorf("digesting what the server is made of: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// findRecord compares the pod of the current revision with that of the spec, which costs a request, if the operator alone
// changed while Jupyter runs.
func (g *Gatherer) findRecord(ctx context.Context, server *v1alpha1.JupyterServer, _ *Memo, _ *release.Memo, f *Facts) error {
	if f.Problem != nil || f.Rendered == nil || !f.ComparesPods() {
		return nil
	}
	recorded, err := g.Releases.Current(ctx, release.Ref{Ref: RefOf(server, f.Current), Current: f.Current})
	if err != nil {
		return err
	}
	f.Recorded, f.CurrentGone = recorded, recorded == nil
	f.SamePod = recorded != nil && equality.Semantic.DeepEqual(podTemplate(recorded), podTemplate(f.Rendered))
	return nil
}

func podTemplate(rendered *render.Rendered) any {
	for _, object := range rendered.Objects {
		if object.GetKind() == "StatefulSet" {
			template, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "template")
			return template
		}
	}
	return nil
}

// findRoute tells whether a server whose spec has a problem left the route of its current revision: the spec wants another one,
// and the Ingress is not at the released one.
func (g *Gatherer) findRoute(ctx context.Context, server *v1alpha1.JupyterServer, _ *Memo, _ *release.Memo, f *Facts) error {
	released, err := url.Parse(server.Status.URL)
	if f.Problem == nil || f.Current == nil || server.Status.URL == "" || err != nil {
		return nil
	}
	wanted := server.Spec.Routing
	if wanted.Host == released.Hostname() && strings.Trim(wanted.Path, "/") == strings.Trim(released.Path, "/") {
		return nil
	}
	ingress, err := get(ctx, g.Cached, server.Namespace, server.Name, &networkingv1.Ingress{})
	f.LeavesRoute = ingress == nil || !isAt(ingress, released)
	return err
}

func isAt(ingress *networkingv1.Ingress, at *url.URL) bool {
	return slices.ContainsFunc(ingress.Spec.Rules, func(rule networkingv1.IngressRule) bool {
		return rule.Host == at.Hostname() && rule.HTTP != nil && slices.ContainsFunc(rule.HTTP.Paths, func(path networkingv1.HTTPIngressPath) bool {
			return strings.Trim(path.Path, "/") == strings.Trim(at.Path, "/")
		})
	})
}

// ServerOf returns a server with the spec that a revision was made of: the spec is the values.
func ServerOf(server *v1alpha1.JupyterServer, revision *render.Rendered) (*v1alpha1.JupyterServer, error) {
	raw, err := json.Marshal(revision.Values)
	if err != nil {
		return nil, fmt.Errorf("encoding the values of a record: %w", err)
	}
	former := server.DeepCopy()
	former.Spec = v1alpha1.JupyterServerSpec{}
	if err := json.Unmarshal(raw, &former.Spec); err != nil {
		return nil, fmt.Errorf("reading the values of a record: %w", err)
	}
	return former, nil
}

// get reads an object, or returns nil if there is none.
func get[T client.Object](ctx context.Context, c client.Reader, namespace, name string, into T) (T, error) {
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, into)
	if client.IgnoreNotFound(err) != nil {
		return into, fmt.Errorf("reading %T %s: %w", into, name, err)
	}
	if err != nil {
		var none T
		return none, nil
	}
	return into, nil
}
