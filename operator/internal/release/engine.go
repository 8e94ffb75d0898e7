// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	helmchart "helm.sh/helm/v3/pkg/chart"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

const (
	// FieldManager is the one field manager of everything that the operator applies.
	FieldManager = "jupyter-server-operator"
	// ServerIndex is the informers' index of the objects of a server, by the value of v1alpha1.ServerLabel.
	ServerIndex = "server"

	// appliedAnnotation holds a digest of what was applied, so that an unchanged object is known without its content.
	appliedAnnotation = "jupyterserver.dev/applied"
	claimKind         = "PersistentVolumeClaim"

	// settleTime is how long the informers may lag behind our own writes before we believe them again.
	settleTime = 15 * time.Second
)

// Kinds are the kinds that a release may hold, as empty objects to read them with: whole objects where the operator
// looks at more than the metadata.
func Kinds() []client.Object {
	return []client.Object{
		&appsv1.StatefulSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}},
		&corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}},
		metadataOf(corev1.SchemeGroupVersion.WithKind("ConfigMap")),
		metadataOf(corev1.SchemeGroupVersion.WithKind("Service")),
		&networkingv1.Ingress{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}},
		metadataOf(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy")),
	}
}

func metadataOf(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(gvk)
	return m
}

// State is what Observe sees, and what Act acts on.
type State string

const (
	// Absent means that there is no release yet.
	Absent State = "Absent"
	// InSync means that the release and its objects are as rendered: nothing to do.
	InSync State = "InSync"
	// OutOfSync means that what is rendered differs from what was released.
	OutOfSync State = "OutOfSync"
	// Drifted means that somebody changed or deleted objects of the release.
	Drifted State = "Drifted"
	// Repaired means that nothing differs any more after a drift, and that the records are to be looked at.
	Repaired State = "Repaired"
)

// Observation is one state, and what has to be done about it.
type Observation struct {
	State State
	// Apply are the objects that are missing or differ, ready to be sent.
	Apply []Change
	// Prune are objects of the release that are no longer rendered.
	Prune []client.Object
	// LetGo is a claim to be retained that the server still owns, whoever made it so. Nil: there is none.
	LetGo client.Object
	// Contested are the objects that somebody else changes again and again. They are left out above while they wait.
	Contested []Contest
	// Unsettled is set where the informers lag behind our own writes: look again after this time.
	Unsettled time.Duration
	// LookAgain is when there is something to do, though nothing of the cluster tells. Zero: nothing.
	LookAgain time.Duration

	// objects is how many objects the release has, and inOrder how those look about which nothing is to be done.
	objects int
	inOrder map[objectKey]mark
}

// Changes says whether an object of a kind will be applied.
func (o Observation) Changes(kind string) bool {
	for _, change := range o.Apply {
		if change.Object.GetKind() == kind {
			return true
		}
	}
	return false
}

// byHelm says whether somebody's Helm command has changed what is to be applied.
func (o Observation) byHelm() bool {
	return slices.ContainsFunc(o.Apply, func(change Change) bool { return change.live != nil && change.live.byHelm })
}

// Summary lists what was found, for people: "Service alice is missing, Ingress alice was edited".
func (o Observation) Summary() string {
	var parts []string
	for _, change := range o.Apply {
		parts = append(parts, keyOf(change.Object).String()+" "+change.Cause)
	}
	for _, object := range o.Prune {
		parts = append(parts, keyOf(object).String()+" is not part of the spec")
	}
	if o.LetGo != nil {
		parts = append(parts, keyOf(o.LetGo).String()+" is to be retained")
	}
	return strings.Join(parts, ", ")
}

// Change is one object to apply.
type Change struct {
	// Object is what is sent.
	Object *unstructured.Unstructured
	// Cause says in two or three words what is wrong with the live object: "is missing", "was edited".
	Cause string

	live *ownedObject // nil: not there, as far as we know
	hash string
}

// Engine observes and applies releases. It is safe for concurrent use on different servers.
type Engine struct {
	// Patience is how soon what others change again and again is put back. Its zero value stands for DefaultPatience.
	Patience Patience
	// Metrics may be nil.
	Metrics *Metrics

	client   client.Client // reads from the informers, writes to the API server
	live     client.Reader // reads from the API server
	kube     kubernetes.Interface
	chart    *helmchart.Metadata
	clock    clock.PassiveClock
	written  *ledger
	contests *contests
	packing  packing
}

// NewEngine returns an engine. The informers behind reads must have ServerIndex on all Kinds (see IndexChildren).
func NewEngine(c client.Client, live client.Reader, kube kubernetes.Interface, chart *helmchart.Metadata, clk clock.PassiveClock) *Engine {
	return &Engine{client: c, live: live, kube: kube, chart: chart, clock: clk, written: newLedger(), contests: newContests()}
}

// IndexChildren adds ServerIndex to the informers of all Kinds.
func IndexChildren(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range Kinds() {
		err := indexer.IndexField(ctx, kind, ServerIndex, func(o client.Object) []string {
			if name := o.GetLabels()[v1alpha1.ServerLabel]; name != "" {
				return []string{name}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("indexing %T: %w", kind, err)
		}
	}
	return nil
}

// Forget drops what is remembered of a server that is gone.
func (e *Engine) Forget(server client.ObjectKey) {
	e.written.forget(server)
	e.contests.forget(server, e.Metrics)
}

// Released is the newest release of a server: of its status, or newer, of our own last write, which the informers may
// not have seen yet. It is nil where there is none.
func (e *Engine) Released(server *v1alpha1.JupyterServer) *v1alpha1.ReleaseStatus {
	last := e.written.release(server)
	if last != nil && (server.Status.Release == nil || last.Revision > server.Status.Release.Revision) {
		return last
	}
	return server.Status.Release
}

// Stop stops the pod of a server and leaves everything else as it is, for a server whose spec may not be released.
func (e *Engine) Stop(ctx context.Context, server *v1alpha1.JupyterServer) error {
	set := &appsv1.StatefulSet{}
	err := e.client.Get(ctx, client.ObjectKeyFromObject(server), set)
	if apierrors.IsNotFound(err) || err == nil && (!IsOwnSet(server, set) || ptr.Deref(set.Spec.Replicas, 1) == 0) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the StatefulSet: %w", err)
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"replicas":0}}`, set.UID))
	if err := e.client.Patch(ctx, set, patch, client.FieldOwner(FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("stopping the pod: %w", err)
	}
	return nil
}

// Observe compares what is rendered with what the informers saw. It makes no API call.
func (e *Engine) Observe(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered) (Observation, error) {
	children, err := e.children(ctx, server)
	if err != nil {
		return Observation{}, err
	}
	claim := children[objectKey{claimKind, server.Name}]
	obs := Observation{objects: len(rendered.Objects), inOrder: map[objectKey]mark{}}
	for _, desired := range rendered.Objects {
		object, hash, err := payload(server, desired)
		if err != nil {
			return Observation{}, err
		}
		key := keyOf(object)
		child := children[key]
		delete(children, key)
		if child != nil && e.wasPruned(server, key, child) {
			child = nil
		}
		last, lag := e.lag(server, key, child)
		obs.Unsettled = max(obs.Unsettled, lag)
		change := compare(server, object, hash, child, last, lag)
		switch {
		case change != nil:
			obs.Apply = append(obs.Apply, *change)
		case lag > 0 && last.altered: // not to be settled on
		case lag > 0:
			obs.inOrder[key] = last.mark
		case !child.deleting:
			obs.inOrder[key] = child.mark()
		}
	}
	obs.Prune = e.prunable(server, children)
	if e.isToLetGo(server, claim) && !obs.Changes(claimKind) {
		obs.LetGo = claim.object
	}
	e.holdBack(server, &obs)
	obs.State = state(e.Released(server), rendered.Digest, obs)
	if obs.State == InSync {
		obs.LookAgain = e.untilReview(server)
		if unreported(server) || obs.LookAgain < 0 {
			obs.State, obs.LookAgain = Repaired, 0
		}
	}
	return obs, nil
}

func state(released *v1alpha1.ReleaseStatus, digest string, obs Observation) State {
	switch {
	case released == nil:
		return Absent
	case released.InputDigest != digest:
		return OutOfSync
	case len(obs.Apply) > 0 || len(obs.Prune) > 0 || obs.LetGo != nil:
		return Drifted
	}
	return InSync
}

// children are the objects with the label of the server that the informers know.
func (e *Engine) children(ctx context.Context, server *v1alpha1.JupyterServer) (map[objectKey]*ownedObject, error) {
	found := map[objectKey]*ownedObject{}
	for _, kind := range Kinds() {
		list, err := listOf(kind)
		if err != nil {
			return nil, err
		}
		options := []client.ListOption{client.InNamespace(server.Namespace), client.MatchingFields{ServerIndex: server.Name}, client.UnsafeDisableDeepCopy}
		if err := e.client.List(ctx, list, options...); err != nil {
			return nil, fmt.Errorf("listing the objects of the server: %w", err)
		}
		gvk := kind.GetObjectKind().GroupVersionKind()
		if err := eachOwned(list, func(o client.Object) {
			found[objectKey{gvk.Kind, o.GetName()}] = observed(o, gvk)
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// compare says what is to be done about one object. While the informers lag, what was written last is what is there.
func compare(server *v1alpha1.JupyterServer, object *unstructured.Unstructured, hash string, child *ownedObject, last writing, lag time.Duration) *Change {
	change := &Change{Object: object, hash: hash, live: child}
	if lag > 0 {
		if last.hash == hash {
			return nil
		}
		change.live, change.Cause = &ownedObject{uid: last.uid}, "differs from the spec"
		return change
	}
	switch {
	case child == nil:
		change.Cause = "is missing"
	case child.deleting:
		return nil // it comes back when it is gone: its deletion wakes us
	case !child.isOf(server):
		change.live, change.Cause = nil, "is missing" // applying as new tells whose it is
	case child.applied != hash:
		change.Cause = "differs from the spec"
	case !child.fields.cover(object), child.byHelm:
		change.Cause = "was edited"
	default:
		return nil
	}
	return change
}

// isToLetGo says whether a claim that is to stay would go with the server.
func (e *Engine) isToLetGo(server *v1alpha1.JupyterServer, claim *ownedObject) bool {
	if !server.Spec.Storage.Retain || claim == nil || claim.deleting || !claim.ownedBy(server) {
		return false
	}
	_, lag := e.lag(server, keyOf(claim.object), claim)
	return lag == 0
}

// prunable are the objects that were applied for this server, or made by Helm for its release, and are rendered no more. A claim is
// never among them, because it holds somebody's files: it goes with the server. What the informers still show a moment after it was
// pruned is gone.
func (e *Engine) prunable(server *v1alpha1.JupyterServer, rest map[objectKey]*ownedObject) []client.Object {
	var out []client.Object
	for key, child := range rest {
		ours := child.ownedBy(server) && child.applied != "" || child.madeByHelm(server)
		if key.kind != claimKind && !child.deleting && ours && !e.wasPruned(server, key, child) {
			out = append(out, child.object)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].GetObjectKind().GroupVersionKind().Kind, out[j].GetObjectKind().GroupVersionKind().Kind
		return a < b
	})
	return out
}
