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

// maxTries bounds how many sets are compiled because of one change. It takes as many only when a lot is wrong at once, and in
// ways that do not say what is.
const maxTries = 40

// errTooManyTries ends a search that takes too long.
var errTooManyTries = errors.New("was not tried, because too many ConfigMaps are wrong at once: mend the others first")

// choice finds the versions of ConfigMaps that can be in force together: as many of the present ones as possible.
type choice struct {
	build   func(context.Context, []policies.Source) (*policies.Evaluator, error)
	inForce set // nil: none is, yet
	present set
	tries   int
}

// chosen is what a choice came to.
type chosen struct {
	set       set
	evaluator *policies.Evaluator              // nil: the set is in force already
	refused   map[string]policies.SourceErrors // what is wrong with present ConfigMaps
	kept      []string                         // ConfigMaps that are gone, and in force because others do not work without them
}

// choose starts from the present versions and takes back those with mistakes. Its error means that nothing could be found out.
func (c *choice) choose(ctx context.Context) (chosen, error) {
	// What is taken back is either what an error names, or a culprit that had to be looked for. A culprit may be why errors
	// named others, so these get another try without it.
	culprits := map[string]policies.SourceErrors{}
	for name, v := range c.present {
		if len(v.mistakes) > 0 {
			culprits[name] = v.mistakes
		}
	}
	refused := maps.Clone(culprits)
	for {
		candidate := c.without(refused)
		if c.inForce != nil && len(c.changes(candidate)) == 0 {
			return c.outcome(c.inForce, nil, refused), nil
		}
		evaluator, err := c.try(ctx, candidate)
		if err == nil {
			return c.outcome(candidate, evaluator, refused), nil
		}
		if named := c.named(err, candidate); len(named) > 0 {
			maps.Copy(refused, named)
			continue
		}
		culprit, err := c.culprit(ctx, candidate, err)
		switch {
		case errors.Is(err, errTooManyTries):
			for _, name := range c.changes(candidate) {
				refused[name] = policies.SourceErrors{{Source: name, Message: err.Error()}}
			}
			return c.outcome(c.inForce, nil, refused), nil
		case culprit == "":
			return chosen{}, err
		}
		culprits[culprit] = mistakesOf(culprit, err)
		refused = maps.Clone(culprits)
	}
}

// without are the present versions, but of some ConfigMaps the version in force, if there is one.
func (c *choice) without(names map[string]policies.SourceErrors) set {
	candidate := maps.Clone(c.present)
	for name := range names {
		delete(candidate, name)
		if v, found := c.inForce[name]; found {
			candidate[name] = v
		}
	}
	return candidate
}

// changes are the ConfigMaps in which a set differs from the one in force: first those that are there, then those that are
// gone, for a ConfigMap may go because another one needs it no longer.
func (c *choice) changes(candidate set) []string {
	var there, gone []string
	for name := range candidate {
		if !candidate.agrees(c.inForce, name) {
			there = append(there, name)
		}
	}
	for name := range c.inForce {
		if candidate[name] == nil {
			gone = append(gone, name)
		}
	}
	slices.Sort(there)
	slices.Sort(gone)
	return append(there, gone...)
}

func (c *choice) try(ctx context.Context, candidate set) (*policies.Evaluator, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if c.tries >= maxTries {
		return nil, errTooManyTries
	}
	c.tries++
	return c.build(ctx, candidate.sources())
}

// named are the changed ConfigMaps that an error says are wrong. There are none where it only says who may be.
func (c *choice) named(err error, candidate set) map[string]policies.SourceErrors {
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
		return nil // the same is said of all: suspects
	}
	for name, mistakes := range named {
		known := candidate[name] != nil && !slices.ContainsFunc(mistakes, func(m *policies.SourceError) bool {
			return !slices.ContainsFunc(candidate[name].sources, func(s policies.Source) bool { return s.Name == m.Source })
		})
		if !known || candidate.agrees(c.inForce, name) {
			delete(named, name)
		}
	}
	return named
}

// culprit looks for a change with which the set in force does not work, while it does with the changes before it. It returns
// what is wrong then. Without a culprit, the error is why there is none.
func (c *choice) culprit(ctx context.Context, candidate set, wrong error) (string, error) {
	changes := c.changes(candidate)
	if len(changes) == 0 || errors.Is(wrong, errTooManyTries) {
		return "", wrong
	}
	if c.inForce == nil {
		if _, err := c.try(ctx, nil); err != nil {
			return "", err // it is not the ConfigMaps
		}
	}
	works, fails := 0, len(changes)
	for fails-works > 1 {
		middle := (works + fails) / 2
		part := maps.Clone(candidate)
		for _, name := range changes[middle:] {
			delete(part, name)
			if v, found := c.inForce[name]; found {
				part[name] = v
			}
		}
		_, err := c.try(ctx, part)
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

// mistakesOf are what is said of a culprit, or else what is said of those that do not work beside it.
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

// outcome moves what is wrong with ConfigMaps that are gone to those that do not work without them, for only these can be
// mended.
func (c *choice) outcome(s set, evaluator *policies.Evaluator, wrong map[string]policies.SourceErrors) chosen {
	out := chosen{set: s, evaluator: evaluator, refused: map[string]policies.SourceErrors{}}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if c.present[name] != nil {
			out.refused[name] = append(out.refused[name], wrong[name]...)
			continue
		}
		out.kept = append(out.kept, name)
		for _, m := range wrong[name] {
			if needs, _, _ := strings.Cut(m.Source, "/"); c.present[needs] != nil {
				out.refused[needs] = append(out.refused[needs], m)
			}
		}
	}
	return out
}
