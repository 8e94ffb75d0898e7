// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// Patience says how soon an object is put back that somebody else changes or deletes again and again.
type Patience struct {
	// AtOnce is how many repairs of one object are made without waiting.
	AtOnce int
	// First is how long the next one waits after the last, and each one after that waits twice as long as the one before.
	First time.Duration
	// Longest is the longest wait.
	Longest time.Duration
	// Calm is how long after its last repair an object is like one that was never touched. Longer than Longest.
	Calm time.Duration
}

// DefaultPatience is that of an Engine which is told no other. A person who tries something out is answered at once.
var DefaultPatience = Patience{AtOnce: 3, First: 5 * time.Second, Longest: 5 * time.Minute, Calm: 15 * time.Minute}

// longestOpen is the longest wait for a NetworkPolicy: who opens one again and again must not gain much by it.
const longestOpen = 15 * time.Second

// of is the patience with objects of a kind.
func (p Patience) of(kind string) Patience {
	if kind == "NetworkPolicy" {
		p.Longest = min(p.Longest, longestOpen)
	}
	return p
}

// wait is how long to wait after so many repairs before the next.
func (p Patience) wait(repairs int) time.Duration {
	if repairs < p.AtOnce {
		return 0
	}
	wait := p.First
	for range repairs - p.AtOnce {
		if wait *= 2; wait >= p.Longest {
			return p.Longest
		}
	}
	return wait
}

// Contest is a fight with somebody else about one object.
type Contest struct {
	// Object is its kind and name, such as "Service alice".
	Object string
	// Wait is how long until it is put back, or, where it is in order at present, until the fight counts as over. It is known
	// after Identify.
	Wait time.Duration
	// Rival is what is known of the other side. Nil: nothing.
	Rival *Rival

	key    objectKey
	change *Change // nil: in order at present, to be pruned, or to be let go
}

// Rival is who is on the other side of a contest, as the API server tells (metadata.managedFields).
type Rival struct {
	// Deletes says that the object is deleted again and again. Nobody can tell by whom.
	Deletes bool
	// Managers are the field managers that took over fields of ours. None: fields are removed, which leaves no name.
	Managers []string
	// Fields are the paths of these fields.
	Fields []string
	// Within says that we own every field, and the object differs nevertheless: admission changes what we send, in the same
	// request, which does not count as taking over (apiserver/pkg/endpoints/handlers/patch.go applies, then admits).
	Within bool
}

// contests remembers which objects were put back. It is lost on a restart: then the first repairs are made at once again.
type contests struct {
	mu      sync.Mutex
	servers map[client.ObjectKey]*fights
}

type fights struct {
	uid     types.UID // a server of the same name that comes later has none
	objects map[objectKey]*fight
}

// fight is what is remembered of one object.
type fight struct {
	hash    string // of what was put back. Of an object that was pruned, or let go: none
	repairs int
	last    time.Time
	next    time.Time // no repair before this
	// held says that a change was found before that. From then on the fight is told of, until there is nothing to put back when
	// the time has come.
	held  bool
	rival *Rival
}

func newContests() *contests { return &contests{servers: map[client.ObjectKey]*fights{}} }

func (c *contests) forget(key client.ObjectKey, metrics *Metrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key, metrics)
}

// drop must be called with the lock held.
func (c *contests) drop(key client.ObjectKey, metrics *Metrics) {
	if of := c.servers[key]; of != nil {
		for object := range of.objects {
			of.end(object, metrics)
		}
	}
	delete(c.servers, key)
}

// of must be called with the lock held. It is nil for a server without fights.
func (c *contests) of(server *v1alpha1.JupyterServer) *fights {
	if of := c.servers[client.ObjectKeyFromObject(server)]; of != nil && of.uid == server.UID {
		return of
	}
	return nil
}

func (f *fights) end(key objectKey, metrics *Metrics) {
	if f.objects[key].held {
		metrics.contested(-1)
	}
	delete(f.objects, key)
}

// holdBack takes out of an observation what is not to be put back yet. Content that was not put back before is never held.
func (e *Engine) holdBack(server *v1alpha1.JupyterServer, obs *Observation) {
	e.contests.mu.Lock()
	defer e.contests.mu.Unlock()
	of := e.contests.of(server)
	if of == nil {
		return
	}
	for key, fight := range of.objects {
		if e.clock.Since(fight.last) >= e.patience().Calm {
			of.end(key, e.Metrics)
		}
	}
	wrong := map[objectKey]*Change{}
	obs.Apply = slices.DeleteFunc(obs.Apply, func(change Change) bool {
		key := keyOf(change.Object)
		wrong[key] = &change
		return of.holds(key, change.hash, e.clock.Now(), e.Metrics)
	})
	obs.Prune = slices.DeleteFunc(obs.Prune, func(object client.Object) bool {
		key := keyOf(object)
		wrong[key] = nil
		return of.holds(key, "", e.clock.Now(), e.Metrics)
	})
	if obs.LetGo != nil {
		key := keyOf(obs.LetGo)
		wrong[key] = nil
		if of.holds(key, "", e.clock.Now(), e.Metrics) {
			obs.LetGo = nil
		}
	}
	for key, fight := range of.objects {
		change, isWrong := wrong[key]
		switch {
		case !fight.held:
		case !isWrong && !e.clock.Now().Before(fight.next):
			fight.held, fight.rival = false, nil
			e.Metrics.contested(-1)
		default:
			obs.Contested = append(obs.Contested, Contest{Object: key.String(), Rival: fight.rival, key: key, change: change})
		}
	}
	slices.SortFunc(obs.Contested, func(a, b Contest) int { return strings.Compare(a.Object, b.Object) })
}

// holds says whether an object that differs has to wait.
func (f *fights) holds(key objectKey, hash string, now time.Time, metrics *Metrics) bool {
	fight := f.objects[key]
	switch {
	case fight == nil:
		return false
	case fight.hash != hash:
		f.end(key, metrics) // the spec changed
		return false
	case !now.Before(fight.next):
		return false
	}
	if !fight.held {
		fight.held = true
		metrics.contested(1)
	}
	return true
}

// contested says whether there is a fight about an object of a server, so that it has to be looked at, though it may be in order.
func (e *Engine) contested(server *v1alpha1.JupyterServer) bool {
	e.contests.mu.Lock()
	defer e.contests.mu.Unlock()
	of := e.contests.of(server)
	if of == nil {
		return false
	}
	for _, fight := range of.objects {
		if fight.held {
			return true
		}
	}
	return false
}

// repaired counts an object that was put back: with the same content again, or because it drifted from what was released.
func (e *Engine) repaired(server *v1alpha1.JupyterServer, state State, key objectKey, hash string) {
	e.contests.mu.Lock()
	defer e.contests.mu.Unlock()
	of := e.contests.of(server)
	known := of != nil && of.objects[key] != nil
	if !known && state != Drifted {
		return
	}
	e.Metrics.repaired(key.kind)
	if of == nil {
		e.contests.drop(client.ObjectKeyFromObject(server), e.Metrics) // of an earlier server
		of = &fights{uid: server.UID, objects: map[objectKey]*fight{}}
		e.contests.servers[client.ObjectKeyFromObject(server)] = of
	}
	if !known {
		of.objects[key] = &fight{hash: hash}
	}
	fight, now := of.objects[key], e.clock.Now()
	fight.repairs++
	fight.last, fight.next = now, now.Add(e.patience().of(key.kind).wait(fight.repairs))
}

func (e *Engine) patience() Patience {
	if e.Patience == (Patience{}) {
		return DefaultPatience
	}
	return e.Patience
}

// Identify says, after an Act, how long the contests of its observation wait, and who is on the other side: with one read of each
// object whose contest was just noticed. What cannot be read stays unknown until the next time.
func (e *Engine) Identify(ctx context.Context, server *v1alpha1.JupyterServer, contested []Contest) {
	for i := range contested {
		contest := &contested[i]
		if contest.Rival == nil && contest.change != nil {
			contest.Rival, _ = e.rival(ctx, contest.change)
		}
		contest.Wait = e.remember(server, contest.key, contest.Rival)
	}
}

// remember keeps who is on the other side, and returns the time until the next repair.
func (e *Engine) remember(server *v1alpha1.JupyterServer, key objectKey, rival *Rival) time.Duration {
	e.contests.mu.Lock()
	defer e.contests.mu.Unlock()
	of := e.contests.of(server)
	if of == nil || of.objects[key] == nil {
		return 0
	}
	of.objects[key].rival = rival
	return max(of.objects[key].next.Sub(e.clock.Now()), time.Millisecond)
}

func (e *Engine) rival(ctx context.Context, change *Change) (*Rival, error) {
	live := metadataOf(change.Object.GroupVersionKind())
	err := e.live.Get(ctx, client.ObjectKeyFromObject(change.Object), live)
	if apierrors.IsNotFound(err) {
		return &Rival{Deletes: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", keyOf(change.Object), err)
	}
	return rivalOf(change.Object, live), nil
}

// rivalOf finds the managers of fields that a desired object has and we do not own.
func rivalOf(desired *unstructured.Unstructured, live client.Object) *Rival {
	managed, ours := live.GetManagedFields(), &fieldpath.Set{}
	if i := slices.IndexFunc(managed, isOurs); i >= 0 && ours.FromJSON(managed[i].FieldsV1.GetRawReader()) != nil {
		ours = &fieldpath.Set{}
	}
	rival := &Rival{Within: ownFieldsOf(live).cover(desired)}
	for _, entry := range managed {
		theirs := &fieldpath.Set{}
		if isOurs(entry) || entry.FieldsV1 == nil || theirs.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) != nil {
			continue
		}
		taken := takenFrom(desired, theirs, ours)
		if len(taken) > 0 {
			rival.Managers = append(rival.Managers, entry.Manager)
			rival.Fields = append(rival.Fields, taken...)
		}
	}
	slices.Sort(rival.Managers)
	slices.Sort(rival.Fields)
	rival.Managers, rival.Fields = slices.Compact(rival.Managers), slices.Compact(rival.Fields)
	return rival
}

// takenFrom are the paths of the fields of a desired object that are theirs and not ours.
func takenFrom(desired *unstructured.Unstructured, theirs, ours *fieldpath.Set) []string {
	var taken []string
	theirs.Leaves().Iterate(func(path fieldpath.Path) {
		if !ours.Has(path) && isSet(desired.Object, path) {
			taken = append(taken, strings.TrimPrefix(path.String(), "."))
		}
	})
	return taken
}

// isSet says whether there is something at a path.
func isSet(v any, path fieldpath.Path) bool {
	for _, element := range path {
		found := false
		switch {
		case element.FieldName != nil:
			fields, _ := v.(map[string]any)
			v, found = fields[*element.FieldName]
		case element.Key != nil:
			v, found = itemOf(v, func(item any) bool {
				fields, isMap := item.(map[string]any)
				return isMap && hasKey(fields, *element.Key)
			})
		case element.Value != nil:
			v, found = itemOf(v, func(item any) bool { return value.Equals(value.NewValueInterface(item), *element.Value) })
		}
		if !found {
			return false
		}
	}
	return true
}

func itemOf(list any, wanted func(any) bool) (any, bool) {
	items, _ := list.([]any)
	i := slices.IndexFunc(items, wanted)
	if i < 0 {
		return nil, false
	}
	return items[i], true
}
