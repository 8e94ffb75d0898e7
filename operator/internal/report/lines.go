// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// Document finds lines in a YAML document.
type Document struct {
	root *yaml.Node
}

// Documents returns the documents of a file, and items of lists in it, with an apiVersion and a kind, up to one that is not YAML.
func Documents(text []byte, apiVersion, kind string) []Document {
	var documents []Document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); err != nil { // the end, or not YAML
			return documents
		}
		if len(node.Content) == 0 {
			continue
		}
		for _, root := range itemsOf(node.Content[0]) {
			if scalar(root, "apiVersion") == apiVersion && scalar(root, "kind") == kind {
				documents = append(documents, Document{root})
			}
		}
	}
}

// itemsOf returns the objects of a list, or the object itself if it is none.
func itemsOf(node *yaml.Node) []*yaml.Node {
	items := child(node, "items")
	if items == nil || resolve(items.value).Kind != yaml.SequenceNode {
		return []*yaml.Node{node}
	}
	var found []*yaml.Node
	for _, item := range resolve(items.value).Content {
		found = append(found, itemsOf(item)...)
	}
	return found
}

func scalar(node *yaml.Node, key string) string {
	if found := child(node, key); found != nil {
		return found.value.Value
	}
	return ""
}

// Start is the line at which the document starts.
func (d Document) Start() int { return d.root.Line }

// Line returns the line of a field such as spec.pod.containers[0].image, or of the nearest enclosing field that is present.
func (d Document) Line(path string) int {
	line, node := d.root.Line, d.root
	for path != "" {
		next, rest := step(node, path)
		if next == nil {
			return line
		}
		line, node, path = next.line, next.value, rest
	}
	return line
}

// entry is a value, and the line of its key.
type entry struct {
	line  int
	value *yaml.Node
}

// step resolves one key or index, and returns the rest of the path.
func step(node *yaml.Node, path string) (*entry, string) {
	if index, rest, found := cutIndex(path); found {
		return item(node, index), rest
	}
	path = strings.TrimPrefix(path, ".")
	// Keys may contain dots, so the longest matching key wins.
	for end := len(path); end > 0; end = strings.LastIndexAny(path[:end], ".[") {
		if found := child(node, path[:end]); found != nil {
			return found, path[end:]
		}
	}
	return nil, path
}

// cutIndex cuts a prefix such as "[1]" off a path.
func cutIndex(path string) (index int, rest string, found bool) {
	if !strings.HasPrefix(path, "[") {
		return 0, path, false
	}
	text, rest, found := strings.Cut(path[1:], "]")
	index, err := strconv.Atoi(text)
	return index, rest, found && err == nil
}

func item(node *yaml.Node, index int) *entry {
	node = resolve(node)
	if node.Kind != yaml.SequenceNode || index < 0 || index >= len(node.Content) {
		return nil
	}
	return &entry{node.Content[index].Line, node.Content[index]}
}

func child(node *yaml.Node, key string) *entry {
	node = resolve(node)
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return &entry{node.Content[i].Line, node.Content[i+1]}
		}
	}
	return nil
}

// resolve returns the node that an alias refers to.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}
