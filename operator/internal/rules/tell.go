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

// Reasons of events.
const (
	ReasonRefused  = "RulesRefused"
	ReasonAccepted = "RulesAccepted"
)

// maxNote is what the API server takes in the note of an event.
const maxNote = 1024

// telling is what was said about a version of a ConfigMap.
type telling struct {
	identity  string
	note      string // empty: it was accepted
	reference *corev1.ObjectReference
}

func (t telling) same(other telling) bool {
	return t.identity == other.identity && t.note == other.note
}

// tell says what became of each ConfigMap: to people by an event when it is news, and to metrics.
func (l *Loader) tell(present set, out chosen) {
	accepted := map[string]bool{}
	refusals := 0
	for _, name := range slices.Sorted(maps.Keys(present)) {
		v := present[name]
		before, known := l.told[name]
		mistakes, refused := out.refused[name]
		if !refused && l.inForce == nil && l.started {
			continue // it waits for others, and is news when it comes in force
		}
		now := telling{identity: v.digest + string(v.reference.UID), reference: &v.reference}
		if refused {
			now.note = note(name, mistakes, l.consequence(name, v, out))
			now.reference = placed(v.reference, mistakes)
		}
		if refused || l.inForce != nil {
			accepted[name] = !refused
		}
		l.told[name] = now
		switch {
		case known && now.same(before):
		case refused:
			refusals++
			l.log.Info("rules are refused", "configMap", name, "note", now.note)
			l.event(now)
		case l.started: // after a start it is no news
			l.event(now)
		}
	}
	maps.DeleteFunc(l.told, func(name string, _ telling) bool { return present[name] == nil })
	l.report.tell(accepted, refusals)
}

// lead makes this replica the one that writes events, if it was elected. What was refused before is said again: nobody knows
// whether the leader before could.
func (l *Loader) lead() {
	if l.leads {
		return
	}
	select {
	case <-l.elected:
	default:
		return
	}
	l.leads = true
	for _, name := range slices.Sorted(maps.Keys(l.told)) {
		if l.told[name].note != "" {
			l.event(l.told[name])
		}
	}
}

func (l *Loader) event(t telling) {
	switch {
	case !l.leads:
	case t.note == "":
		l.events.Eventf(t.reference, nil, corev1.EventTypeNormal, ReasonAccepted, "Load", "The rules are in force.")
	default:
		l.events.Eventf(t.reference, nil, corev1.EventTypeWarning, ReasonRefused, "Load", "%s", t.note)
	}
}

// placed points at the first mistake. Events about one object are counted as one while all but their notes are the same, so
// without the place the first note would stay when the ConfigMap stays the same and another of its mistakes comes to light.
func placed(reference corev1.ObjectReference, mistakes policies.SourceErrors) *corev1.ObjectReference {
	name, key, _ := strings.Cut(mistakes[0].Source, "/")
	reference.FieldPath = "data"
	if name == reference.Name && key != "" {
		reference.FieldPath = fmt.Sprintf("data{%s:%d}", key, mistakes[0].Line)
	}
	return &reference
}

// consequence says what the refusal of a ConfigMap means.
func (l *Loader) consequence(name string, v *version, out chosen) string {
	switch used := out.set[name]; {
	case l.inForce == nil:
		return "No policies are in force: no server is installed or changed until this is mended."
	case used == nil:
		return "Nothing of this ConfigMap is in force."
	case used.digest == v.digest:
		return fmt.Sprintf("It stays in force together with what was deleted (%s).", strings.Join(out.kept, ", "))
	default:
		return "The version that was accepted last stays in force."
	}
}

// note lists mistakes as FILE:LINE: MESSAGE, with the ConfigMap's name where they are in others, which do not work beside it.
func note(name string, mistakes policies.SourceErrors, consequence string) string {
	lines := make([]string, len(mistakes))
	others := ""
	for i, m := range mistakes {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(m.Error(), name+"/"), name+": ")
		if in, _, _ := strings.Cut(m.Source, "/"); in != name {
			others = "others do not work beside it: "
		}
	}
	text := others + strings.Join(strings.Fields(strings.Join(lines, "; ")), " ")
	if room := maxNote - len(consequence) - len(". "); len(text) > room {
		text = strings.ToValidUTF8(text[:room-len("...")], "") + "..."
	}
	return strings.TrimSuffix(text, ".") + ". " + consequence
}
