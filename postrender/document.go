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
	raw    []byte // the whole text, including the separator
	head   []byte // the separator and the comments at the start of raw, such as Helm's "# Source: ..."
	node   *yaml.RNode

	before, after []byte // the object as JSON, without and with the patches; nil while no patch has touched it
}

// parse reads a stream of documents.
func parse(stream []byte) ([]*document, error) {
	var documents []*document
	for i, raw := range split(stream) {
		d := &document{number: i + 1, raw: raw, head: head(raw)}
		// Empty lines in place of the head keep the line numbers of errors right and its comments out of the node.
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

// join is the inverse of parse.
func join(documents []*document) ([]byte, error) {
	var out bytes.Buffer
	for i, d := range documents {
		text, err := d.text()
		if err != nil {
			return nil, fmt.Errorf("writing document %d of the manifest: %w", d.number, err)
		}
		if i > 0 && !separated(text) { // it was the first document of the input
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// split cuts a stream before every separator and keeps every byte. Comments before the first separator belong to the first
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

// head returns the lines of a document before its content.
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

// isSeparator reports whether a line begins with the marker of YAML 1.2.2, section 9.1.2, which no scalar may contain at the
// start of a line.
func isSeparator(line []byte) bool {
	rest, found := bytes.CutPrefix(line, []byte("---"))
	return found && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// separated reports whether a document begins with a separator, possibly after comments.
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

// isComment reports whether a line is empty or a comment.
func isComment(line []byte) bool {
	line = bytes.Trim(line, " \t\r\n")
	return len(line) == 0 || line[0] == '#'
}

// body is a document without its head.
func (d *document) body() []byte { return d.raw[len(d.head):] }

func (d *document) apiVersion() string { return d.field("apiVersion") }
func (d *document) kind() string       { return d.field("kind") }
func (d *document) name() string       { return d.field("metadata", "name") }

// field returns a scalar of the object, or "" if there is none. RNode's own GetKind and GetName panic on lists.
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

// text returns the document as it is written: raw unless it was patched.
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

// edit changes the object in place and re-encodes it. Its comments and the order of its keys stay.
func (d *document) edit(mutate func(*yaml.RNode) error) error {
	if err := mutate(d.node); err != nil {
		return err
	}
	text, err := yaml.MarshalWithOptions(d.node.YNode(), d.encoding())
	if err != nil {
		return err
	}
	decoded, err := parseYAML(text)
	if err != nil || !sameNode(yaml.NewRNode(decoded).YNode(), d.node.YNode()) {
		return errors.New("the object cannot be written with its comments") // yaml.v3 can write one where it changes the object
	}
	d.raw = slices.Concat(d.head, text)
	return nil
}

// sameNode reports whether two nodes are equal apart from comments and style.
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

// encoding returns the indentation of lists in the document.
func (d *document) encoding() *yaml.EncoderOptions {
	return &yaml.EncoderOptions{SeqIndent: yaml.SequenceIndentStyle(yaml.DeriveSeqIndentStyle(string(d.raw)))}
}

// parseYAML reads text that holds at most one document.
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
		return nil, fmt.Errorf("YAML aliases expand to more than %d KiB", maxGrowth>>10)
	}
	return &node, nil
}

// maxGrowth limits, in bytes, how much patches may add to an object: twice the largest patch. The same limit applies to the
// aliases of a YAML text and to the copy operations of a json patch. Each of the three could turn 64 KiB into gigabytes.
//
// Aliases: yaml.v3's Decode into a Node expands nothing. sigs.k8s.io/yaml expands them, and the limit of yaml.v2 beneath it
// (decode.go, alias_ratio_range_low) counts nodes, up to 400,000 of them, and not bytes.
const maxGrowth = 128 << 10

// spendOnAliases returns the rest of a budget after the aliases below a node are expanded. It is negative if they exceed it.
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

// toJSON reads scalars as clients of the cluster do (YAML 1.1: yes is true), unlike yaml.v3. The last of equal keys wins.
func toJSON(text []byte) ([]byte, error) {
	object, err := sigsyaml.YAMLToJSON(text)
	return object, inOneLine(err)
}

// toJSONStrict is toJSON, but rejects equal keys.
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
