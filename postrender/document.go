// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// document is one document of a stream.
type document struct {
	number int    // from 1, for errors
	raw    []byte // all of it, its separator included
	head   []byte // the separator and the comments that raw begins with, such as Helm's "# Source: ..."
	node   *yaml.RNode

	before, after []byte // the object as JSON, without and with the patches; nil while no patch has touched it
}

// parse reads a stream of documents.
func parse(stream []byte) ([]*document, error) {
	var documents []*document
	for i, raw := range split(stream) {
		d := &document{number: i + 1, raw: raw, head: head(raw)}
		// Empty lines in place of the head keep the line numbers of errors right, and its comments out of the node.
		padding := bytes.Repeat([]byte("\n"), bytes.Count(d.head, []byte("\n")))
		node, err := parseYAML(append(padding, d.body()...))
		if err != nil {
			return nil, fmt.Errorf("document %d of the manifest: %w", d.number, err)
		}
		d.node = yaml.NewRNode(node)
		documents = append(documents, d)
	}
	return documents, nil
}

// join is the opposite of parse.
func join(documents []*document) ([]byte, error) {
	var out bytes.Buffer
	for i, d := range documents {
		text, err := d.text()
		if err != nil {
			return nil, fmt.Errorf("writing document %d of the manifest: %w", d.number, err)
		}
		if i > 0 && !separated(text) { // the first one that came, which is not the first any more
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// split cuts a stream before every separator, and loses nothing. Comments before the first separator belong to the first
// document.
func split(stream []byte) [][]byte {
	var documents [][]byte
	start, end, begun := 0, 0, false
	for line := range bytes.Lines(stream) {
		if isSeparator(line) && begun {
			documents = append(documents, stream[start:end])
			start = end
		}
		begun = begun || isSeparator(line) || !isComment(line)
		end += len(line)
	}
	if start < end {
		documents = append(documents, stream[start:end])
	}
	return documents
}

// head returns the lines that a document has before its content.
func head(raw []byte) []byte {
	end := 0
	for line := range bytes.Lines(raw) {
		if !isComment(line) && !(isSeparator(line) && isComment(line[len("---"):])) {
			break
		}
		end += len(line)
	}
	return raw[:end]
}

// isSeparator knows the marker of YAML 1.2.2, section 9.1.2, which no scalar may hold at the start of a line.
func isSeparator(line []byte) bool {
	rest, found := bytes.CutPrefix(line, []byte("---"))
	return found && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// separated says whether a document begins with a separator, with comments before it or without.
func separated(document []byte) bool {
	for line := range bytes.Lines(document) {
		if isSeparator(line) {
			return true
		}
		if !isComment(line) {
			return false
		}
	}
	return false
}

// isComment says whether a line holds nothing else than a comment.
func isComment(line []byte) bool {
	line = bytes.Trim(line, " \t\r\n")
	return len(line) == 0 || line[0] == '#'
}

// body is a document without its head.
func (d *document) body() []byte { return d.raw[len(d.head):] }

func (d *document) apiVersion() string { return d.field("apiVersion") }
func (d *document) kind() string       { return d.field("kind") }
func (d *document) name() string       { return d.field("metadata", "name") }

// field returns a text of the object, empty if there is none. RNode's own GetKind and GetName panic on lists.
func (d *document) field(path ...string) string {
	node := d.node
	for _, name := range path {
		field := node.Field(name)
		if field.IsNilOrEmpty() {
			return ""
		}
		node = field.Value
	}
	return node.YNode().Value
}

// text is what is written of a document.
func (d *document) text() ([]byte, error) {
	if d.after == nil {
		return d.raw, nil
	}
	body, err := d.patchedBody()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if d.number > 1 && len(d.head) == 0 { // as in "--- {kind: Service}"
		out.WriteString("---\n")
	}
	out.Write(d.head)
	out.Write(body)
	return out.Bytes(), nil
}

// patchedBody encodes a patched object, without its head. Keys are sorted and comments are lost.
func (d *document) patchedBody() ([]byte, error) {
	object, err := unmarshal(d.after)
	if err != nil {
		return nil, err
	}
	text, err := yaml.MarshalWithOptions(object, d.encoding())
	if err == nil && !decodesTo(text, object) { // yaml.v3 writes YAML 1.2, clients of the cluster read YAML 1.1
		err = errors.New("the patched object cannot be written as YAML")
	}
	return text, err
}

// decodesTo reports whether clients of the cluster read the text as the value.
func decodesTo(text []byte, value any) bool {
	object, err := toJSON(text)
	if err != nil {
		return false
	}
	got, err := unmarshal(object)
	return err == nil && reflect.DeepEqual(got, value)
}

// edit changes the object in place, and writes it again: its comments and the order of its keys stay.
func (d *document) edit(change func(*yaml.RNode) error) error {
	if err := change(d.node); err != nil {
		return err
	}
	text, err := yaml.MarshalWithOptions(d.node.YNode(), d.encoding())
	if err != nil {
		return err
	}
	again, err := parseYAML(text)
	if err != nil || !sameNode(yaml.NewRNode(again).YNode(), d.node.YNode()) {
		return errors.New("it cannot be written with its comments") // yaml.v3 puts some where they change the object
	}
	d.raw = slices.Concat(d.head, text)
	return nil
}

// sameNode says whether two nodes are the same but for comments and style.
func sameNode(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || a.ShortTag() != b.ShortTag() || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameNode(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// encoding is the style of the document.
func (d *document) encoding() *yaml.EncoderOptions {
	return &yaml.EncoderOptions{SeqIndent: yaml.SequenceIndentStyle(yaml.DeriveSeqIndentStyle(string(d.raw)))}
}

// parseYAML reads text that holds one document, or nothing.
func parseYAML(text []byte) (*yaml.Node, error) {
	var node, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&node); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, errors.New("more than one YAML document")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if spendOnAliases(&node, false, maxGrowth) < 0 {
		return nil, errors.New("YAML aliases that expand to too much")
	}
	return &node, nil
}

// maxGrowth is what patches may add to an object, in bytes: twice the largest patch. The aliases of a YAML text and
// the copy operations of a json patch may add as much. Each of the three could make gigabytes of 64 KiB otherwise.
//
// For aliases: yaml.v3's Decode into a Node expands nothing. sigs.k8s.io/yaml expands, and the limit of yaml.v2 beneath it
// (decode.go, alias_ratio_range_low) counts nodes, up to 400,000 of them, and not bytes.
const maxGrowth = 128 << 10

// spendOnAliases returns what is left of a budget after the aliases below a node are expanded; less than zero ends it.
func spendOnAliases(node *yaml.Node, aliased bool, budget int) int {
	if aliased {
		budget -= 16 + len(node.Value)
	}
	if node.Kind == yaml.AliasNode {
		return spendOnAliases(node.Alias, true, budget)
	}
	for _, child := range node.Content {
		if budget < 0 {
			break
		}
		budget = spendOnAliases(child, aliased, budget)
	}
	return budget
}

// toJSON reads scalars as the cluster's clients do (YAML 1.1: yes is true); yaml.v3 does not. The last of equal keys wins.
func toJSON(text []byte) ([]byte, error) {
	object, err := sigsyaml.YAMLToJSON(text)
	return object, inOneLine(err)
}

// toJSONStrict is toJSON that refuses equal keys.
func toJSONStrict(text []byte) ([]byte, error) {
	object, err := sigsyaml.YAMLToJSONStrict(text)
	return object, inOneLine(err)
}

func inOneLine(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	return errors.New(strings.Join(strings.Fields(text), " "))
}
