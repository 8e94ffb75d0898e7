// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// patchedBody is a patched document without its head: the text that came, where the patches left it, with its comments,
// its order of keys and its style.
func (d *document) patchedBody() ([]byte, error) {
	before, err := unmarshal(d.before)
	if err != nil {
		return nil, err
	}
	after, err := unmarshal(d.after)
	if err != nil {
		return nil, err
	}
	options := d.encoding()
	if err := graft(d.node.YNode(), before, after); err != nil {
		return nil, err
	}
	text, err := yaml.MarshalWithOptions(d.node.YNode(), options)
	if err == nil && says(text, after) {
		return text, nil
	}
	// Aliases that share what now differs, keys that yaml.v3 and YAML 1.1 read differently, comments that yaml.v3 puts in
	// the wrong place: the object matters more than its comments.
	text, err = yaml.MarshalWithOptions(after, options)
	if err == nil && !says(text, after) {
		err = errors.New("the patched object cannot be written as YAML")
	}
	return text, err
}

// says says whether a text holds a value, as the cluster's clients read it.
func says(text []byte, value any) bool {
	object, err := toJSON(text)
	if err != nil {
		return false
	}
	got, err := unmarshal(object)
	return err == nil && reflect.DeepEqual(got, value)
}

// graft changes a node from the value that it has to another one, and leaves alone what is the same in both.
func graft(node *yaml.Node, before, after any) error {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	switch after := after.(type) {
	case map[string]any:
		if before, ok := before.(map[string]any); ok && node.Kind == yaml.MappingNode {
			return graftMap(node, before, after)
		}
	case []any:
		if before, ok := before.([]any); ok && node.Kind == yaml.SequenceNode && len(before) == len(node.Content) {
			return graftList(node, before, after)
		}
	}
	return replace(node, after)
}

// graftMap keeps the order of keys; new ones follow in the order of their names.
func graftMap(node *yaml.Node, before, after map[string]any) error {
	last := map[string]int{} // the last of equal keys counts
	for i := 0; i < len(node.Content); i += 2 {
		last[node.Content[i].Value] = i
	}
	var fields []*yaml.Node
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		wanted, ok := after[key.Value]
		if !ok || last[key.Value] != i {
			continue
		}
		if err := graft(value, before[key.Value], wanted); err != nil {
			return err
		}
		fields = append(fields, key, value)
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := last[name]; ok {
			continue
		}
		key, value := &yaml.Node{}, &yaml.Node{}
		if err := replace(key, name); err != nil {
			return err
		}
		if err := replace(value, after[name]); err != nil {
			return err
		}
		fields = append(fields, key, value)
	}
	setContent(node, fields)
	return nil
}

// graftList takes over the entries that stay, or that keep their name.
func graftList(node *yaml.Node, before, after []any) error {
	// By text and by name, and not each with each: a patch can hold 30,000 entries.
	places := map[string][]int{}
	for i, value := range before {
		for _, key := range entryKeys(value) {
			places[key] = append(places[key], i)
		}
	}
	taken := make([]bool, len(before))
	take := func(value any) int {
		for _, key := range entryKeys(value) {
			for len(places[key]) > 0 {
				i := places[key][0]
				places[key] = places[key][1:]
				if !taken[i] {
					taken[i] = true
					return i
				}
			}
		}
		return -1
	}
	entries := make([]*yaml.Node, len(after))
	for n, value := range after {
		var err error
		if i := take(value); i >= 0 {
			entries[n] = node.Content[i]
			err = graft(entries[n], before[i], value)
		} else {
			entries[n] = &yaml.Node{}
			err = replace(entries[n], value)
		}
		if err != nil {
			return err
		}
	}
	setContent(node, entries)
	return nil
}

// entryKeys are what an entry of a list is known by: best its text, else its name.
func entryKeys(value any) []string {
	text, err := marshal(value)
	if err != nil {
		return nil
	}
	keys := []string{string(text)}
	if object, ok := value.(map[string]any); ok && object["name"] != nil {
		keys = append(keys, fmt.Sprint("name ", object["name"]))
	}
	return keys
}

// setContent gives a node its content. What was empty had to be in flow style, and need not any longer.
func setContent(node *yaml.Node, content []*yaml.Node) {
	if len(node.Content) == 0 {
		node.Style &^= yaml.FlowStyle
	}
	node.Content = content
}

// replace gives a node a new value under its old comments.
func replace(node *yaml.Node, value any) error {
	var fresh yaml.Node
	if err := fresh.Encode(value); err != nil {
		return err
	}
	fresh.HeadComment, fresh.FootComment = node.HeadComment, node.FootComment
	if fresh.Kind == yaml.ScalarNode {
		fresh.LineComment = node.LineComment
	}
	*node = fresh
	return nil
}
