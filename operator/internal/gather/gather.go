// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gather finds the facts that package reconcile decides on: what a spec refers to and renders to, what the policies say, how
// the pod is. It only reads: from the informers, and from the API server and the pod where the informers cannot tell.
//
// What may not live here: writes, and what follows from the facts.
package gather

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
	"github.com/jupyterserver/jupyter-server-operator/policies"
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
	Events   *Events
	Access   *http.Client // asks the access control in pods, see NewAccessClient
	Clock    clock.PassiveClock
	Config   config.Release
}

// Memo is what this process remembers of one server between turns. All of it may be lost. One goroutine at a time uses it.
type Memo struct {
	evaluated *evaluated
	failing   failing
	bundle    bundle
	access    lastAccess
}

// bundle is a digest of one version of one key of a ConfigMap, of which the informers hold only the metadata.
type bundle struct{ version, digest string }

// Facts are the facts of a turn, and what acting on them needs.
type Facts struct {
	reconcile.Facts
	Rendered    *render.Rendered    // what the spec renders to; nil: a problem hides it, or an unchanged server does not need it
	References  render.References   // digests of what the spec refers to
	Inputs      string              // a digest of all that the objects and the verdict follow from, but for the routes of other servers
	Credentials credentials.Plan    // for the credentials Secret of the spec
	Restore     credentials.Plan    // for the credentials Secret of a server whose spec is not followed
	Recorded    *render.Rendered    // the current revision; nil: it was not read
	StatefulSet *appsv1.StatefulSet // the server's own; nil: there is none
	PodObject   *corev1.Pod         // the server's own; nil: there is none
	LookAgain   time.Duration       // when to look again although nothing changes; zero: never
}

// look is one look at a server: what it looks with, and the facts that it has found so far.
type look struct {
	*Gatherer
	Facts
	server *v1alpha1.JupyterServer
	ref    release.Ref
	memo   *Memo
	writes *release.Memo

	own      *corev1.Secret // the credentials Secret, stripped; nil: there is none
	reads    []string       // the keys of it that the pod reads, by the StatefulSet in the cluster
	bundle   string         // a digest of the certificates that the spec names
	involved []types.UID    // the objects whose events may tell why the pod does not run
	lags     bool           // the informers may not show the newest StatefulSet
}

// Facts returns the facts about a server whose newest revision is current. An error is worth another try.
func (g *Gatherer) Facts(ctx context.Context, server *v1alpha1.JupyterServer, current *v1alpha1.ReleaseStatus, memo *Memo, writes *release.Memo) (Facts, error) {
	l := &look{Gatherer: g, server: server, ref: release.Ref{Ref: RefOf(server, current), Current: current}, memo: memo, writes: writes}
	l.Intent, l.Current, l.URL = reconcile.IntentOf(server), current, g.Renderer.URL(server)
	l.Upgrades = reconcile.Upgrades{
		RestartRunning: g.Config.RestartRunning,
		Rollback:       ptr.Deref(ptr.Deref(server.Spec.Release, v1alpha1.Release{}).RollbackOnFailure, g.Config.RollbackOnFailure),
		RollbackAfter:  g.Config.RollbackAfter.Duration,
	}
	for _, find := range []func(context.Context) error{l.findWorkload, l.findCredentials, l.findSpec, l.findRecord, l.findRoute, l.findTrouble} {
		if err := find(ctx); err != nil {
			return l.Facts, err
		}
	}
	l.findFailing()
	return l.Facts, nil
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
func (l *look) findSpec(ctx context.Context) error {
	if err := l.server.Spec.Unreadable(); err != nil {
		l.Problem = reconcile.NewProblem(v1alpha1.ReasonSpecUnreadable, "the spec holds a value that Kubernetes rejects: "+err.Error())
		return nil
	}
	err := l.resolve(ctx)
	if err != nil {
		return err
	}
	if missing := l.Problem; missing != nil {
		if l.Verdict, l.Problem, err = l.Evaluate(ctx, l.server, nil); l.Problem == nil && err == nil {
			l.Problem = missing
		}
		return err
	}
	if l.Inputs, err = l.inputs(ctx); err != nil {
		return err
	}
	if known := l.memo.evaluated; known.holds(&l.Facts, l.Clock.Now()) && !l.Credentials.Writes() {
		l.Spec, l.Verdict, l.SamePod = known.spec, known.verdict, known.samePod
		return nil
	}
	if l.Rendered, err = l.Renderer.Render(l.server, l.References); err != nil {
		l.Problem = reconcile.NewProblem(v1alpha1.ReasonRenderFailed, "the spec cannot be rendered: "+err.Error())
		return nil
	}
	l.Spec = reconcile.Digests{Input: l.Rendered.Digest, Spec: l.Rendered.SpecDigest}
	l.Verdict, l.Problem, err = l.Evaluate(ctx, l.server, l.Rendered)
	return err
}

// inputs digests everything that the objects of a server and its verdict follow from, but for the routes of other servers.
func (l *look) inputs(ctx context.Context) (string, error) {
	namespace, err := l.Cluster.Namespace(ctx, l.server.Namespace)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal([]any{l.server.UID, l.server.Generation, l.server.Labels, l.server.Annotations, l.References, namespace, l.Judge.Version()})
	if err != nil {
		return "", fmt.Errorf("digesting what the server is made of: %w", err)
	}
	return credentials.Digest(raw), nil
}

// Evaluate asks the policies whether a server may be installed, whatever it was before: what is in the cluster must comply by
// itself. Without rendered, the server is rendered without what it refers to, which no rule looks at. Free routes are reserved for
// the server; the caller keeps them or gives them back. An error is worth another try.
func (g *Gatherer) Evaluate(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered) (reconcile.Verdict, *reconcile.Problem, error) {
	namespace, err := g.Cluster.Namespace(ctx, server.Namespace)
	if err != nil {
		return reconcile.Verdict{}, nil, err
	}
	result, err := g.Judge.Ask(ctx, judge.Case{
		Operation: policies.Create, Server: server, Rendered: rendered, Namespace: namespace, Routes: g.Cluster.Routes(server),
	})
	var unrendered *judge.RenderError
	verdict := reconcile.Verdict{Asked: true, Result: result}
	switch {
	case errors.As(err, &unrendered):
		return reconcile.Verdict{}, reconcile.NewProblem(v1alpha1.ReasonRenderFailed, err.Error()), nil
	case err != nil && (ctx.Err() != nil || !errors.As(err, &verdict.Failure)):
		return reconcile.Verdict{}, nil, err
	}
	return verdict, verdict.Problem(), nil
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
	if f.Problem == nil && f.Rendered != nil && current != nil {
		memo.evaluated = &evaluated{f.Inputs, current.Revision, current.InputDigest, f.Spec, f.Verdict, f.SamePod, g.Clock.Now()}
	}
}

// NoteNoRollback remembers why a revision cannot be rolled back, so that it is not tried in every turn. An empty reason changes
// nothing.
func (m *Memo) NoteNoRollback(why string) { m.failing.noRollback = cmp.Or(why, m.failing.noRollback) }

// findRecord compares the pod of the current revision with that of the spec, which costs a request, if the operator alone
// changed while Jupyter runs.
func (l *look) findRecord(ctx context.Context) (err error) {
	if l.Problem != nil || l.Rendered == nil || !l.ComparesPods() {
		return nil
	}
	l.Recorded, err = l.Releases.Current(ctx, l.ref)
	l.CurrentGone = l.Recorded == nil && err == nil
	l.SamePod = l.Recorded != nil && equality.Semantic.DeepEqual(podTemplate(l.Recorded), podTemplate(l.Rendered))
	return err
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
func (l *look) findRoute(ctx context.Context) error {
	released, err := url.Parse(l.server.Status.URL)
	if l.Problem == nil || l.Current == nil || l.server.Status.URL == "" || err != nil {
		return nil
	}
	isReleased := func(host, path string) bool {
		return host == released.Hostname() && strings.Trim(path, "/") == strings.Trim(released.Path, "/")
	}
	if isReleased(l.server.Spec.Routing.Host, l.server.Spec.Routing.Path) {
		return nil
	}
	ingress, err := get(ctx, l.Cached, l.server.Namespace, l.server.Name, &networkingv1.Ingress{})
	l.LeavesRoute = ingress == nil || !slices.ContainsFunc(ingress.Spec.Rules, func(rule networkingv1.IngressRule) bool {
		return rule.HTTP != nil && slices.ContainsFunc(rule.HTTP.Paths, func(path networkingv1.HTTPIngressPath) bool {
			return isReleased(rule.Host, path.Path)
		})
	})
	return err
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
func get[T client.Object](ctx context.Context, c client.Reader, namespace, name string, into T) (found T, err error) {
	err = c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, into)
	if apierrors.IsNotFound(err) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("reading %T %s: %w", into, name, err)
	}
	return into, nil
}

// metadata returns what to read the metadata of an object of the core group into.
func metadata(kind string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return object
}
