// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// names are terms for the fields that objects often have. They are shared by all evaluations, so nobody may change them.
type names map[string]*ast.Term

// namesIn are those of a JSON schema.
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

// converter makes values of plain ones. It is for one goroutine.
type converter struct {
	names names
	// fields and items are stacks for those of the objects and lists that are being converted.
	fields [][2]*ast.Term
	items  []*ast.Term
	// terms are some that nobody has yet: to make many at once is cheaper.
	terms []ast.Term
}

// value is x, as InterfaceToValue of OPA makes it. What is in like at the same place, and equal, it takes from there: that
// is cheap to make, and to compare.
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
