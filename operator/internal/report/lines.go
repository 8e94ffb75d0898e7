// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// Document knows the lines of a YAML document.
type Document struct {
	root *yaml.Node
}

// Documents are those documents of a file that have an apiVersion and a kind. What is not YAML ends them.
func Documents(text []byte, apiVersion, kind string) []Document {
	var documents []Document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); err != nil { // the end, or nothing that has lines
			return documents
		}
		if len(node.Content) == 0 {
			continue
		}
		root := node.Content[0]
		if scalar(root, "apiVersion") == apiVersion && scalar(root, "kind") == kind {
			documents = append(documents, Document{root})
		}
	}
}

func scalar(node *yaml.Node, key string) string {
	if found := child(node, key); found != nil {
		return found.value.Value
	}
	return ""
}

// Start is the line that the document begins at.
func (d Document) Start() int { return d.root.Line }

// Line is that of a field such as spec.pod.containers[0].image, or of the nearest thing around it that is written down.
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

// step goes one key or index further, and returns what is left of the path.
func step(node *yaml.Node, path string) (*entry, string) {
	if index, rest, found := cutIndex(path); found {
		return item(node, index), rest
	}
	path = strings.TrimPrefix(path, ".")
	// Keys may hold dots, so the longest one that fits is meant.
	for end := len(path); end > 0; end = strings.LastIndexAny(path[:end], ".[") {
		if found := child(node, path[:end]); found != nil {
			return found, path[end:]
		}
	}
	return nil, path
}

// cutIndex cuts "[1]" off the beginning of a path.
func cutIndex(path string) (index int, rest string, found bool) {
	if !strings.HasPrefix(path, "[") {
		return 0, path, false
	}
	text, rest, found := strings.Cut(path[1:], "]")
	index, err := strconv.Atoi(text)
	return index, rest, found && err == nil
}

func item(node *yaml.Node, index int) *entry {
	node = meant(node)
	if node.Kind != yaml.SequenceNode || index < 0 || index >= len(node.Content) {
		return nil
	}
	return &entry{node.Content[index].Line, node.Content[index]}
}

func child(node *yaml.Node, key string) *entry {
	node = meant(node)
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

// meant is what an alias stands for.
func meant(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}
