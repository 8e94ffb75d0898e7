// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// names are terms for common field names. All evaluations share them, so they must not be modified.
type names map[string]*ast.Term

// namesIn returns the names of properties in a JSON schema.
func namesIn(schema any) names {
	found := names{}
	found.collect(schema)
	return found
}

func (n names) collect(schema any) {
	switch schema := schema.(type) {
	case []any:
		for _, one := range schema {
			n.collect(one)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name := range properties {
			if n[name] == nil {
				n[name] = ast.StringTerm(name)
			}
		}
		for _, one := range schema {
			n.collect(one)
		}
	}
}

func (n names) term(name string) *ast.Term {
	if term := n[name]; term != nil {
		return term
	}
	return ast.StringTerm(name)
}

// converter converts unstructured values to Rego values. It must not be used concurrently.
type converter struct {
	names names
	// fields and items are stacks for the objects and lists under conversion.
	fields [][2]*ast.Term
	items  []*ast.Term
	// terms are unused terms, which are allocated in batches.
	terms []ast.Term
}

// value converts x like OPA's InterfaceToValue. Parts equal to the same part of like are shared, which saves allocations and makes
// comparison cheap.
func (c *converter) value(x any, like ast.Value) (ast.Value, error) {
	switch x := x.(type) {
	case map[string]any:
		object, _ := like.(ast.Object)
		return c.object(x, object)
	case []any:
		list, _ := like.(*ast.Array)
		return c.list(x, list)
	case string:
		if text, ok := like.(ast.String); ok && string(text) == x {
			return like, nil
		}
	}
	return ast.InterfaceToValue(x)
}

func (c *converter) object(x map[string]any, like ast.Object) (ast.Value, error) {
	start := len(c.fields)
	defer func() { c.fields = c.fields[:start] }()
	equal := like != nil && like.Len() == len(x)
	for key, one := range x {
		name := c.names.term(key)
		var was *ast.Term
		if like != nil {
			was = like.Get(name)
		}
		term, err := c.term(one, was)
		if err != nil {
			return nil, err
		}
		equal = equal && term == was
		c.fields = append(c.fields, [2]*ast.Term{name, term})
	}
	if equal {
		return like, nil
	}
	return ast.NewObject(c.fields[start:]...), nil
}

func (c *converter) list(x []any, like *ast.Array) (ast.Value, error) {
	start := len(c.items)
	defer func() { c.items = c.items[:start] }()
	equal := like != nil && like.Len() == len(x)
	for i, one := range x {
		var was *ast.Term
		if like != nil && i < like.Len() {
			was = like.Elem(i)
		}
		term, err := c.term(one, was)
		if err != nil {
			return nil, err
		}
		equal = equal && term == was
		c.items = append(c.items, term)
	}
	if equal {
		return like, nil
	}
	return ast.NewArray(slices.Clone(c.items[start:])...), nil
}

func (c *converter) term(x any, was *ast.Term) (*ast.Term, error) {
	var like ast.Value
	if was != nil {
		like = was.Value
	}
	value, err := c.value(x, like)
	if err != nil {
		return nil, err
	}
	if was != nil && value == like {
		return was, nil
	}
	if len(c.terms) == 0 {
		c.terms = make([]ast.Term, 64)
	}
	term := &c.terms[0]
	term.Value, c.terms = value, c.terms[1:]
	return term, nil
}
