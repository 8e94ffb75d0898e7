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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
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
	// writes are expectations: what the API server answered to writes that the informers may not show yet. Without them a
	// turn right after a write would do the same again.
	writes map[Key]write
	// settled is how the objects looked when there was nothing to do. It is nil if that is not known.
	settled *settled
}

// write is what the API server answered to a write.
type write struct {
	uid             types.UID
	resourceVersion string
	hash            string
	mark            mark
	altered         bool // admission changed what was written
	pruned          bool
	at              time.Time
}

func (m *Memo) expect(key Key, w write) {
	if m.writes == nil {
		m.writes = map[Key]write{}
	}
	m.writes[key] = w
}

func (m *Memo) met(key Key) {
	delete(m.writes, key)
	if len(m.writes) == 0 {
		m.writes = nil // an empty map keeps its room
	}
}

// settled is how the objects of a release looked when a comparison of these inputs found nothing to do. As long as they look
// the same, they need not be rendered again.
type settled struct {
	inputs string
	retain bool // the claim
	marks  map[Key]mark
}

// Diff is what has to be done so that the objects of a release are as desired.
type Diff struct {
	// Apply are the objects that are missing or differ.
	Apply []Change
	// Prune are objects of the release that are no longer desired.
	Prune []client.Object
	// Release is a claim to retain that the server still owns. It is nil if there is none.
	Release client.Object
	// Lag is how long the informers may still lag behind the operator's own writes. Zero: they do not.
	Lag time.Duration

	desired int          // how many objects are desired
	inOrder map[Key]mark // those about which nothing has to be done
}

// Change is one object to apply.
type Change struct {
	// Object is what is sent.
	Object *unstructured.Unstructured
	// Hash is a digest of it.
	Hash string
	// Cause says what is wrong with the live object, such as "is missing".
	Cause string

	live *live // nil: the object is not there, as far as the informers know
}

// IsEmpty reports whether there is nothing to do.
func (d Diff) IsEmpty() bool { return len(d.Apply) == 0 && len(d.Prune) == 0 && d.Release == nil }

// Changes reports whether an object of a kind is to be applied.
func (d Diff) Changes(kind string) bool {
	return slices.ContainsFunc(d.Apply, func(c Change) bool { return c.Object.GetKind() == kind })
}

// ChangesPod reports whether the pod in the informers is not the desired one, or may not be.
func (d Diff) ChangesPod() bool { return d.Changes(setKind) || d.Lag > 0 }

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
	children, err := c.list(ctx, ref)
	if err != nil {
		return Diff{}, err
	}
	claim := children[Key{claimKind, ref.Name}]
	diff := Diff{desired: len(desired), inOrder: map[Key]mark{}}
	for _, object := range desired {
		payload, hash, err := payloadOf(ref, object)
		if err != nil {
			return Diff{}, err
		}
		key := KeyOf(payload)
		child := children[key]
		delete(children, key)
		if child != nil && c.wasPruned(memo, key, child) {
			child = nil
		}
		last, lag := c.lag(memo, key, child)
		diff.Lag = max(diff.Lag, lag)
		change := compare(ref, Change{Object: payload, Hash: hash, live: child}, last, lag)
		switch {
		case change != nil:
			diff.Apply = append(diff.Apply, *change)
		case lag > 0 && last.altered: // the informers have to show it first
		case lag > 0:
			diff.inOrder[key] = last.mark
		case !child.deleting:
			diff.inOrder[key] = child.mark()
		}
	}
	diff.Prune = c.prunable(ref, memo, children)
	if c.isToRelease(ref, memo, claim) && !diff.Changes(claimKind) {
		diff.Release = claim.object
	}
	return diff, nil
}

// compare returns what has to be done about one object, or nil. While the informers lag, the last write is what is there.
func compare(ref Ref, change Change, last write, lag time.Duration) *Change {
	child := change.live
	switch {
	case lag > 0 && last.hash == change.Hash:
		return nil
	case lag > 0:
		change.live, change.Cause = &live{uid: last.uid}, "differs from the spec"
	case child == nil:
		change.Cause = "is missing"
	case child.deleting:
		return nil // its end wakes the server, and then it is missing
	case !child.mayChange(ref):
		change.live, change.Cause = nil, "is missing" // applying it as new finds out whose it is
	case child.applied != change.Hash:
		change.Cause = "differs from the spec"
	case !child.fields.cover(change.Object), child.byHelm:
		change.Cause = "was edited"
	default:
		return nil
	}
	return &change
}

// isToRelease reports whether a claim that is to be retained would be deleted with the server.
func (c *Client) isToRelease(ref Ref, memo *Memo, claim *live) bool {
	if !ref.Retain || claim == nil || claim.deleting || !claim.isOwn(ref) {
		return false
	}
	_, lag := c.lag(memo, KeyOf(claim.object), claim)
	return lag == 0
}

// prunable returns the objects that were applied for the server, or created by Helm for its release, and are no longer
// desired. A claim never is one, because it holds files: it is deleted with its server.
func (c *Client) prunable(ref Ref, memo *Memo, rest map[Key]*live) []client.Object {
	var out []client.Object
	for key, child := range rest {
		ours := child.isOwn(ref) && child.applied != "" || child.isHelms(ref)
		if key.Kind != claimKind && !child.deleting && ours && !c.wasPruned(memo, key, child) {
			out = append(out, child.object)
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int { return strings.Compare(KeyOf(a).String(), KeyOf(b).String()) })
	return out
}

// lag returns the last write of an object and how long the informers must be ignored because they predate it. Zero: the
// informers have caught up.
func (c *Client) lag(memo *Memo, key Key, child *live) (write, time.Duration) {
	last, ok := memo.writes[key]
	if !ok || last.pruned {
		return write{}, 0
	}
	if !child.olderThan(last.resourceVersion) {
		memo.met(key) // if it is missing from now on, it was deleted
		return write{}, 0
	}
	return last, max(0, SettleTime-c.clock.Since(last.at))
}

// SetLags reports whether the informers may not show the last write of the StatefulSet yet. A nil set is one that they do not
// show.
func (c *Client) SetLags(ref Ref, memo *Memo, set *appsv1.StatefulSet) bool {
	var child *live
	if set != nil {
		child = liveOf(set, appsv1.SchemeGroupVersion.WithKind(setKind))
	}
	_, lag := c.lag(memo, Key{setKind, ref.Name}, child)
	return lag > 0
}

// wasPruned reports whether the operator deleted an object that the informers still show.
func (c *Client) wasPruned(memo *Memo, key Key, child *live) bool {
	last, ok := memo.writes[key]
	return ok && last.pruned && last.uid == child.uid && c.clock.Since(last.at) < SettleTime
}

// Settle remembers that the objects are as a diff of these inputs asked for, once it was applied. Inputs identify everything
// that the desired objects follow from.
func (m *Memo) Settle(inputs string, ref Ref, diff Diff) {
	marks := diff.inOrder
	for _, change := range diff.Apply {
		last, ok := m.writes[KeyOf(change.Object)]
		if !ok || last.altered {
			return // the informers have to show what became of it
		}
		marks[KeyOf(change.Object)] = last.mark
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
	ref.Retain = was.retain
	children, err := c.list(ctx, ref)
	if err != nil {
		return false, 0, err
	}
	if c.isToRelease(ref, memo, children[Key{claimKind, ref.Name}]) {
		return false, 0, nil
	}
	for key, mark := range was.marks {
		child := children[key]
		delete(children, key)
		last, late := c.lag(memo, key, child)
		switch {
		case late > 0 && last.mark == mark:
			lag = max(lag, late)
		case late > 0, child == nil, child.deleting, child.mark() != mark:
			return false, 0, nil
		}
	}
	return len(c.prunable(ref, memo, children)) == 0, lag, nil
}

// payloadOf returns a rendered object as it is sent: with its owner, with what Helm expects on objects of a release, and with
// the digest of all that.
func payloadOf(ref Ref, desired *unstructured.Unstructured) (payload *unstructured.Unstructured, hash string, err error) {
	object := desired.DeepCopy()
	object.SetNamespace(ref.Namespace)
	setLabel(object, v1alpha1.ServerLabel, ref.Name) // whatever a patch did to it: the informers find the object by it
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[helmReleaseAnnotation] = ref.Name
	annotations[helmNamespaceAnnotation] = ref.Namespace
	object.SetAnnotations(annotations)
	if key := KeyOf(object); key.Kind != claimKind || !ref.Retain {
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

func setLabel(object *unstructured.Unstructured, name, value string) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[name] = value
	object.SetLabels(labels)
}
