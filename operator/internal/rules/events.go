// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// Reasons of events on ConfigMaps.
const (
	ReasonRefused  = "RulesRefused"
	ReasonAccepted = "RulesAccepted"
)

// maxNote is the API server's limit for the note of an event.
const maxNote = 1024

// notice is what was reported about a version of a ConfigMap.
type notice struct {
	identity  string
	note      string // empty if it was accepted
	reference *corev1.ObjectReference
}

func (t notice) same(other notice) bool {
	return t.identity == other.identity && t.note == other.note
}

// publish reports the result for each ConfigMap: in an event if it is new, and in metrics.
func (l *Loader) publish(present set, out resolution) {
	accepted := map[string]bool{}
	refusals := 0
	for _, name := range slices.Sorted(maps.Keys(present)) {
		v := present[name]
		before, known := l.notices[name]
		mistakes, rejected := out.rejected[name]
		if !rejected && l.inForce == nil && l.started {
			continue // blocked by others: reported when it comes into force
		}
		now := notice{identity: v.digest + string(v.reference.UID), reference: &v.reference}
		if rejected {
			now.note = note(name, mistakes, l.consequence(name, v, out))
			now.reference = referenceAt(v.reference, mistakes)
		}
		if rejected || l.inForce != nil {
			accepted[name] = !rejected
		}
		l.notices[name] = now
		switch {
		case known && now.same(before):
		case rejected:
			refusals++
			l.log.Info("rules are rejected", "configMap", name, "note", now.note)
			l.event(now)
		case l.started: // accepted at the start: not new
			l.event(now)
		}
	}
	maps.DeleteFunc(l.notices, func(name string, _ notice) bool { return present[name] == nil })
	l.report.record(accepted, refusals)
}

// lead makes this replica write events once it is elected. It repeats the events of current rejections, because the previous leader
// may not have written them.
func (l *Loader) lead() {
	if l.leading {
		return
	}
	select {
	case <-l.elected:
	default:
		return
	}
	l.leading = true
	for _, name := range slices.Sorted(maps.Keys(l.notices)) {
		if l.notices[name].note != "" {
			l.event(l.notices[name])
		}
	}
}

func (l *Loader) event(t notice) {
	switch {
	case !l.leading:
	case t.note == "":
		l.events.Eventf(t.reference, nil, corev1.EventTypeNormal, ReasonAccepted, "Load", "The rules are in force.")
	default:
		l.events.Eventf(t.reference, nil, corev1.EventTypeWarning, ReasonRefused, "Load", "%s", t.note)
	}
}

// referenceAt points at the first error. Events on one object that differ only in their notes are aggregated, so without the field
// path the first note would stay when another error of the same version is found.
func referenceAt(reference corev1.ObjectReference, mistakes policies.SourceErrors) *corev1.ObjectReference {
	name, key, _ := strings.Cut(mistakes[0].Source, "/")
	reference.FieldPath = "data"
	if name == reference.Name && key != "" {
		reference.FieldPath = fmt.Sprintf("data{%s:%d}", key, mistakes[0].Line)
	}
	return &reference
}

// consequence describes the effect of rejecting a ConfigMap.
func (l *Loader) consequence(name string, v *version, out resolution) string {
	switch used := out.set[name]; {
	case l.inForce == nil:
		return "No policies are in force: no server is installed or changed until this is fixed."
	case used == nil:
		return "Nothing of this ConfigMap is in force."
	case used.digest == v.digest:
		return fmt.Sprintf("It stays in force together with the deleted ConfigMaps that it needs (%s).", strings.Join(out.kept, ", "))
	default:
		return "The last accepted version stays in force."
	}
}

// note lists errors as FILE:LINE: MESSAGE, with the ConfigMap's name for errors that it causes in others.
func note(name string, mistakes policies.SourceErrors, consequence string) string {
	lines := make([]string, len(mistakes))
	others := ""
	for i, m := range mistakes {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(m.Error(), name+"/"), name+": ")
		if in, _, _ := strings.Cut(m.Source, "/"); in != name {
			others = "it breaks other ConfigMaps: "
		}
	}
	text := others + strings.Join(strings.Fields(strings.Join(lines, "; ")), " ")
	if room := maxNote - len(consequence) - len(". "); len(text) > room {
		text = strings.ToValidUTF8(text[:room-len("...")], "") + "..."
	}
	return strings.TrimSuffix(text, ".") + ". " + consequence
}
