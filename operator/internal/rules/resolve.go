// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// maxTries bounds how many sets are compiled for one change. It is reached only if many ConfigMaps are invalid at once, with
// errors that do not identify them.
const maxTries = 40

// errTooManyTries ends a search that takes too long.
var errTooManyTries = errors.New("not tried, because too many ConfigMaps are invalid at once: fix the others first")

// resolver finds the versions of ConfigMaps that can be in force together: as many of the present ones as possible.
type resolver struct {
	build   func(context.Context, []policies.Source) (*policies.Evaluator, error)
	inForce set // nil if none is yet
	present set
	tries   int
}

// resolution is the result of a resolver.
type resolution struct {
	set       set
	evaluator *policies.Evaluator              // nil if the set is in force already
	rejected  map[string]policies.SourceErrors // errors of present ConfigMaps
	kept      []string                         // deleted ConfigMaps that stay in force because others depend on them
}

// resolve starts from the present versions and reverts those with errors. It returns an error if the cause cannot be determined.
func (r *resolver) resolve(ctx context.Context) (resolution, error) {
	// A reverted ConfigMap is either named by an error, or a culprit found by search. A culprit may have caused errors that name
	// others, so those are tried again without it.
	culprits := map[string]policies.SourceErrors{}
	for name, v := range r.present {
		if len(v.mistakes) > 0 {
			culprits[name] = v.mistakes
		}
	}
	rejected := maps.Clone(culprits)
	for {
		candidate := r.without(rejected)
		if r.inForce != nil && len(r.changes(candidate)) == 0 {
			return r.result(r.inForce, nil, rejected), nil
		}
		evaluator, err := r.try(ctx, candidate)
		if err == nil {
			return r.result(candidate, evaluator, rejected), nil
		}
		if named := r.namedIn(err, candidate); len(named) > 0 {
			maps.Copy(rejected, named)
			continue
		}
		culprit, err := r.culprit(ctx, candidate, err)
		switch {
		case errors.Is(err, errTooManyTries):
			for _, name := range r.changes(candidate) {
				rejected[name] = policies.SourceErrors{{Source: name, Message: err.Error()}}
			}
			return r.result(r.inForce, nil, rejected), nil
		case culprit == "":
			return resolution{}, err
		}
		culprits[culprit] = mistakesOf(culprit, err)
		rejected = maps.Clone(culprits)
	}
}

// without returns the present versions, but for the named ConfigMaps the version in force, if there is one.
func (r *resolver) without(names map[string]policies.SourceErrors) set {
	candidate := maps.Clone(r.present)
	for name := range names {
		delete(candidate, name)
		if v, found := r.inForce[name]; found {
			candidate[name] = v
		}
	}
	return candidate
}

// changes returns the ConfigMaps in which a set differs from the one in force: first the present ones, then the deleted ones,
// because a ConfigMap may be deleted when another one no longer needs it.
func (r *resolver) changes(candidate set) []string {
	var present, deleted []string
	for name := range candidate {
		if !candidate.agrees(r.inForce, name) {
			present = append(present, name)
		}
	}
	for name := range r.inForce {
		if candidate[name] == nil {
			deleted = append(deleted, name)
		}
	}
	slices.Sort(present)
	slices.Sort(deleted)
	return append(present, deleted...)
}

func (r *resolver) try(ctx context.Context, candidate set) (*policies.Evaluator, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if r.tries >= maxTries {
		return nil, errTooManyTries
	}
	r.tries++
	return r.build(ctx, candidate.sources())
}

// namedIn returns the changed ConfigMaps that an error blames. It returns none if the error only lists suspects.
func (r *resolver) namedIn(err error, candidate set) map[string]policies.SourceErrors {
	var mistakes policies.SourceErrors
	if !errors.As(err, &mistakes) {
		return nil
	}
	named, messages := map[string]policies.SourceErrors{}, map[string]bool{}
	for _, m := range mistakes {
		name, _, _ := strings.Cut(m.Source, "/")
		named[name] = append(named[name], m)
		messages[fmt.Sprint(m.Line, m.Message)] = true
	}
	if len(named) > 1 && len(messages) == 1 {
		return nil // the same error for all: they are only suspects
	}
	for name, mistakes := range named {
		known := candidate[name] != nil && !slices.ContainsFunc(mistakes, func(m *policies.SourceError) bool {
			return !slices.ContainsFunc(candidate[name].sources, func(s policies.Source) bool { return s.Name == m.Source })
		})
		if !known || candidate.agrees(r.inForce, name) {
			delete(named, name)
		}
	}
	return named
}

// culprit searches for a change with which the set in force fails, while it works with the changes before it. It returns the
// change and its failure. If there is no culprit, the error is the reason.
func (r *resolver) culprit(ctx context.Context, candidate set, wrong error) (string, error) {
	changes := r.changes(candidate)
	if len(changes) == 0 || errors.Is(wrong, errTooManyTries) {
		return "", wrong
	}
	if r.inForce == nil {
		if _, err := r.try(ctx, nil); err != nil {
			return "", err // the ConfigMaps are not the cause
		}
	}
	works, fails := 0, len(changes)
	for fails-works > 1 {
		middle := (works + fails) / 2
		part := maps.Clone(candidate)
		for _, name := range changes[middle:] {
			delete(part, name)
			if v, found := r.inForce[name]; found {
				part[name] = v
			}
		}
		_, err := r.try(ctx, part)
		switch {
		case ctx.Err() != nil, errors.Is(err, errTooManyTries):
			return "", err
		case err == nil:
			works = middle
		default:
			fails, wrong = middle, err
		}
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return changes[fails-1], wrong
}

// mistakesOf returns the errors in a culprit, or else the errors that it causes in others.
func mistakesOf(culprit string, err error) policies.SourceErrors {
	var mistakes policies.SourceErrors
	if !errors.As(err, &mistakes) {
		return policies.SourceErrors{{Source: culprit, Message: err.Error()}}
	}
	own := slices.DeleteFunc(slices.Clone(mistakes), func(m *policies.SourceError) bool { return !strings.HasPrefix(m.Source, culprit+"/") })
	if len(own) > 0 {
		return own
	}
	return mistakes
}

// result moves the errors of deleted ConfigMaps to those that depend on them, because only these can be fixed.
func (r *resolver) result(s set, evaluator *policies.Evaluator, wrong map[string]policies.SourceErrors) resolution {
	out := resolution{set: s, evaluator: evaluator, rejected: map[string]policies.SourceErrors{}}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if r.present[name] != nil {
			out.rejected[name] = append(out.rejected[name], wrong[name]...)
			continue
		}
		out.kept = append(out.kept, name)
		for _, m := range wrong[name] {
			if needs, _, _ := strings.Cut(m.Source, "/"); r.present[needs] != nil {
				out.rejected[needs] = append(out.rejected[needs], m)
			}
		}
	}
	return out
}
