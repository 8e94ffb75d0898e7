// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// SettleTime is how long the informers may lag behind the operator's own writes. Afterwards they are believed again.
const SettleTime = 15 * time.Second

// Client compares and applies the objects of releases. It is safe for concurrent use on different releases.
type Client struct {
	client client.Client // reads from the informers, writes to the API server
	live   client.Reader // reads from the API server
	clock  clock.PassiveClock
}

// NewClient returns a Client. The informers behind c need Index and the transform Strip.
func NewClient(c client.Client, reader client.Reader, clk clock.PassiveClock) *Client {
	return &Client{client: c, live: reader, clock: clk}
}

// Memo is what this process remembers of the objects of one release. Losing it costs a comparison. One goroutine at a time
// uses it.
type Memo struct {
	writes  map[Key]write // expectations: writes that the informers may not show yet, which a turn right after would make again
	settled *settled      // nil: not known
}

// write is what the API server answered to a write.
type write struct {
	*live
	pruned bool
	at     time.Time
}

// settled is how the objects of a release looked when a comparison of these inputs found nothing to do. As long as they look
// the same, they need not be rendered again.
type settled struct {
	inputs string
	retain bool // the claim
	marks  map[Key]mark
}

func (m *Memo) expect(w write) {
	if m.writes == nil {
		m.writes = map[Key]write{}
	}
	m.writes[KeyOf(w.object)] = w
}

func (m *Memo) met(key Key) {
	delete(m.writes, key)
	if len(m.writes) == 0 {
		m.writes = nil // an empty map keeps its room
	}
}

// Diff is what has to be done so that the objects of a release are as desired.
type Diff struct {
	Apply   []Change        // objects that are missing or differ
	Prune   []client.Object // objects of the release that are no longer desired
	Release client.Object   // a claim to retain that the server still owns, or nil
	Lag     time.Duration   // how long the informers may still lag behind the operator's own writes

	desired int          // how many objects are desired
	inOrder map[Key]mark // those about which nothing has to be done
}

// Change is one object to apply.
type Change struct {
	Object *unstructured.Unstructured // as it is sent
	Hash   string                     // a digest of it
	Cause  string                     // what is wrong with the live object, such as "is missing"

	live *live // nil: the object is not there, as far as the informers know
}

// IsEmpty reports whether there is nothing to do.
func (d Diff) IsEmpty() bool { return len(d.Apply) == 0 && len(d.Prune) == 0 && d.Release == nil }

func (d Diff) changes(kind string) bool {
	return slices.ContainsFunc(d.Apply, func(c Change) bool { return c.Object.GetKind() == kind })
}

// ChangesPod reports whether the StatefulSet is to be applied, so that the pod in the informers may not be the desired one.
func (d Diff) ChangesPod() bool { return d.changes(setKind) }

// ByHelm reports whether a Helm command changed an object that is to be applied.
func (d Diff) ByHelm() bool {
	return slices.ContainsFunc(d.Apply, func(c Change) bool { return c.live != nil && c.live.byHelm })
}

// Summary lists what differs, such as "Service alice is missing, Ingress alice was edited".
func (d Diff) Summary() string {
	var parts []string
	for _, change := range d.Apply {
		parts = append(parts, KeyOf(change.Object).String()+" "+change.Cause)
	}
	for _, object := range d.Prune {
		parts = append(parts, KeyOf(object).String()+" is not part of the spec")
	}
	if d.Release != nil {
		parts = append(parts, KeyOf(d.Release).String()+" is to be retained")
	}
	return strings.Join(parts, ", ")
}

// Diff compares the desired objects of a release with the informers. It makes no request.
func (c *Client) Diff(ctx context.Context, ref Ref, memo *Memo, desired []*unstructured.Unstructured) (Diff, error) {
	children, lag, err := c.list(ctx, ref, memo)
	if err != nil {
		return Diff{}, err
	}
	claim := children[Key{claimKind, ref.Name}]
	diff := Diff{Lag: lag, desired: len(desired), inOrder: map[Key]mark{}}
	for _, object := range desired {
		payload, hash, err := payloadOf(ref, object)
		if err != nil {
			return Diff{}, err
		}
		key := KeyOf(payload)
		child := children[key]
		delete(children, key)
		if change := compare(ref, Change{Object: payload, Hash: hash, live: child}); change != nil {
			diff.Apply = append(diff.Apply, *change)
		} else if !child.deleting && !child.isAltered() {
			diff.inOrder[key] = child.mark()
		}
	}
	diff.Prune = prunable(ref, children)
	if isToRelease(ref, claim) && !diff.changes(claimKind) {
		diff.Release = claim.object
	}
	return diff, nil
}

// list returns the objects with the server's label that the informers hold, or the operator's own writes where they lag behind,
// and how long they may still lag.
func (c *Client) list(ctx context.Context, ref Ref, memo *Memo) (found map[Key]*live, lag time.Duration, err error) {
	found = map[Key]*live{}
	for _, kind := range Kinds() {
		options := []client.ListOption{client.InNamespace(ref.Namespace), client.MatchingFields{serverIndex: ref.Name}, client.UnsafeDisableDeepCopy}
		if err := c.client.List(ctx, kind.List, options...); err != nil {
			return nil, 0, fmt.Errorf("listing the objects of the release: %w", err)
		}
		gvk := kind.Object.GetObjectKind().GroupVersionKind()
		if err := meta.EachListItem(kind.List, func(item runtime.Object) error {
			if o, isObject := item.(client.Object); isObject {
				found[Key{gvk.Kind, o.GetName()}] = liveOf(o, gvk)
			}
			return nil
		}); err != nil {
			return nil, 0, fmt.Errorf("listing the objects of the release: %w", err)
		}
	}
	return found, c.overlay(memo, found), nil
}

// overlay has the operator's own writes take the place of what the informers show of them too late.
func (c *Client) overlay(memo *Memo, found map[Key]*live) (lag time.Duration) {
	for key, last := range memo.writes {
		child := found[key]
		switch left := c.lag(last); {
		case left == 0, !last.pruned && child != nil && !isOlder(child.resourceVersion, last.resourceVersion):
			memo.met(key) // if it is missing from now on, it was deleted
		case !last.pruned:
			found[key], lag = last.live, max(lag, left)
		case child != nil && child.uid == last.uid:
			delete(found, key)
		}
	}
	return lag
}

// lag returns how long the informers may lag behind a write.
func (c *Client) lag(w write) time.Duration { return max(0, SettleTime-c.clock.Since(w.at)) }

// isOlder compares resource versions, which is allowed since Kubernetes 1.35 (KEP-5504), and worked before.
func isOlder(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

// SetLags reports whether the informers may not show the last write of the StatefulSet yet. A nil set is one that they do not
// show.
func (c *Client) SetLags(ref Ref, memo *Memo, set *appsv1.StatefulSet) bool {
	last, ok := memo.writes[Key{setKind, ref.Name}]
	return ok && !last.pruned && c.lag(last) > 0 && (set == nil || isOlder(set.ResourceVersion, last.resourceVersion))
}

// compare returns what has to be done about one object, or nil.
func compare(ref Ref, change Change) *Change {
	child := change.live
	switch {
	case child == nil:
		change.Cause = "is missing"
	case child.sent == change.Hash:
		return nil // just applied
	case child.deleting:
		return nil // its end wakes the server, and then it is missing
	case !child.mayChange(ref):
		change.live, change.Cause = nil, "is missing" // applying it as new finds out whose it is
	case child.applied != change.Hash:
		change.Cause = "differs from the spec"
	case child.wasEdited(change.Object):
		change.Cause = "was edited"
	default:
		return nil
	}
	return &change
}

// isToRelease reports whether a claim that is to be retained would be deleted with the server.
func isToRelease(ref Ref, claim *live) bool {
	return ref.Retain && claim != nil && !claim.deleting && claim.isOwn(ref)
}

// prunable returns the objects that were applied for the server, or created by Helm for its release, and are no longer
// desired. A claim never is one, because it holds files: it is deleted with its server.
func prunable(ref Ref, rest map[Key]*live) []client.Object {
	var out []client.Object
	for key, child := range rest {
		ours := child.isOwn(ref) && child.applied != "" || child.isHelms(ref)
		if key.Kind != claimKind && !child.deleting && ours {
			out = append(out, child.object)
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int { return strings.Compare(KeyOf(a).String(), KeyOf(b).String()) })
	return out
}

// Settle remembers that the objects are as a diff of these inputs asked for, once it was applied. Inputs identify everything
// that the desired objects follow from.
func (m *Memo) Settle(inputs string, ref Ref, diff Diff) {
	marks := diff.inOrder
	for _, change := range diff.Apply {
		last, ok := m.writes[KeyOf(change.Object)]
		if !ok || last.isAltered() {
			return
		}
		marks[KeyOf(change.Object)] = last.mark()
	}
	if len(marks) == diff.desired { // else an object is still being deleted
		m.settled = &settled{inputs, ref.Retain, marks}
	}
}

// InOrder reports whether the objects look as they did when they were settled with the same inputs, and how long the
// informers may still lag. It makes no request and does not need the rendered objects.
func (c *Client) InOrder(ctx context.Context, ref Ref, memo *Memo, inputs string) (inOrder bool, lag time.Duration, err error) {
	was := memo.settled
	if was == nil || was.inputs != inputs {
		return false, 0, nil
	}
	children, lag, err := c.list(ctx, ref, memo)
	if err != nil {
		return false, 0, err
	}
	ref.Retain = was.retain
	if isToRelease(ref, children[Key{claimKind, ref.Name}]) {
		return false, 0, nil
	}
	for key, mark := range was.marks {
		child := children[key]
		delete(children, key)
		if child == nil || child.deleting || child.mark() != mark {
			return false, 0, nil
		}
	}
	return len(prunable(ref, children)) == 0, lag, nil
}

// payloadOf returns a rendered object as it is sent: with its owner, with what Helm expects on objects of a release, and with
// the digest of all that.
func payloadOf(ref Ref, desired *unstructured.Unstructured) (payload *unstructured.Unstructured, hash string, err error) {
	object := desired.DeepCopy()
	object.SetNamespace(ref.Namespace)
	object.SetLabels(labels.Merge(object.GetLabels(), labels.Set{v1alpha1.ServerLabel: ref.Name})) // whatever a patch did to it
	annotations := labels.Merge(object.GetAnnotations(), labels.Set{helmReleaseAnnotation: ref.Name, helmNamespaceAnnotation: ref.Namespace})
	object.SetAnnotations(annotations)
	if object.GetKind() != claimKind || !ref.Retain {
		object.SetOwnerReferences([]metav1.OwnerReference{ref.Owner()})
	}
	if ref.Stop && object.GetKind() == setKind {
		if err := unstructured.SetNestedField(object.Object, int64(0), "spec", "replicas"); err != nil {
			return nil, "", fmt.Errorf("scaling %s to zero: %w", KeyOf(object), err)
		}
	}
	raw, err := object.MarshalJSON()
	if err != nil {
		return nil, "", fmt.Errorf("encoding %s: %w", KeyOf(object), err)
	}
	sum := sha256.Sum256(raw)
	hash = hex.EncodeToString(sum[:16])
	annotations[appliedAnnotation] = hash
	object.SetAnnotations(annotations)
	return object, hash, nil
}
