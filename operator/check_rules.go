// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/rules"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// ruleFile is a file of custom rules, or a key of a ConfigMap manifest.
type ruleFile struct {
	source policies.Source
	// manifest is the file of the ConfigMap whose key this is. It is empty if the source is a file itself.
	manifest string
	// line is the line of the key's value in the manifest. literal reports whether the source is a literal block, so that its
	// lines map to those below line.
	line    int
	literal bool
}

type ruleFiles []ruleFile

// readRules reads a folder with rules, or one file.
func readRules(path string) (ruleFiles, error) {
	names, err := ruleFilesBelow(path)
	if err != nil {
		return nil, fmt.Errorf("--policies: %w", err)
	}
	var found ruleFiles
	var errs []error
	for _, name := range names {
		text, err := readRegular(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("--policies: %w", err))
			continue
		}
		more, err := rulesOf(displayName(name), text)
		found, errs = append(found, more...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("--policies: %s contains no rules: there is no .rego, .yaml, .yml or .json file", path)
	}
	return found, nil
}

// readRegular reads a file, following links. It rejects anything else, such as a named pipe, because reading might never end.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: put the rules into files", displayName(name))
	}
	return os.ReadFile(name)
}

// ruleFilesBelow returns the files to read: those of a folder that have the extension of a rule or data file. It skips hidden
// ones, among them the folders that the kubelet creates in the volume of a ConfigMap.
func ruleFilesBelow(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	var names []string
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != path && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case !d.IsDir() && slices.Contains([]string{".rego", ".yaml", ".yml", ".json"}, filepath.Ext(name)):
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// rulesOf returns the file itself, or the contents of the ConfigMaps in it.
func rulesOf(file string, text []byte) (ruleFiles, error) {
	itself := ruleFiles{{source: policies.Source{Name: file, Text: string(text)}}}
	if filepath.Ext(file) == ".rego" {
		return itself, nil
	}
	documents, isManifest := manifests(text)
	if !isManifest {
		return itself, nil
	}
	var found ruleFiles
	taken := map[string]bool{}
	for _, document := range documents {
		more, err := rulesOfManifest(file, document)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, document.YNode().Line, err)
		}
		for _, rule := range more {
			if taken[rule.source.Name] {
				return nil, fmt.Errorf("%s:%d: another ConfigMap of this file has the same name and key", file, rule.line)
			}
			taken[rule.source.Name] = true
		}
		found = append(found, more...)
	}
	return found, nil
}

// manifests returns the documents of a file. found reports whether one of them is a Kubernetes manifest, with an apiVersion and
// a kind. Files that cannot be parsed are left to the policies, which report the error.
func manifests(text []byte) (documents []*yaml.RNode, found bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if err != nil {
			return documents, found && errors.Is(err, io.EOF)
		}
		document := yaml.NewRNode(&node)
		if document.IsNilOrEmpty() {
			continue
		}
		documents = append(documents, document)
		found = found || document.GetApiVersion() != "" && document.GetKind() != ""
	}
}

func rulesOfManifest(file string, document *yaml.RNode) (ruleFiles, error) {
	if document.GetApiVersion() != "v1" || document.GetKind() != "ConfigMap" {
		return nil, fmt.Errorf("manifest of kind %s: only ConfigMaps with rules are allowed here", cmp.Or(document.GetKind(), "(none)"))
	}
	name := document.GetName()
	if document.GetLabels()[rules.Label] != rules.LabelValue {
		return nil, fmt.Errorf("the ConfigMap %s lacks the label %s: %q, so the operator would ignore it", name, rules.Label, rules.LabelValue)
	}
	if !document.Field("binaryData").IsNilOrEmpty() {
		return nil, fmt.Errorf("the ConfigMap %s has binaryData, which is not read: put the rules into data", name)
	}
	data := document.Field("data")
	if data.IsNilOrEmpty() {
		return nil, fmt.Errorf("the ConfigMap %s has no data", name)
	}
	var found ruleFiles
	err := data.Value.VisitFields(func(field *yaml.MapNode) error {
		key, value := field.Key.YNode(), field.Value.YNode()
		if value.Kind != yaml.ScalarNode {
			return fmt.Errorf("the ConfigMap %s: %s is not a string", name, key.Value)
		}
		found = append(found, ruleFile{
			source:   policies.Source{Name: fmt.Sprintf("%s:%s/%s", file, name, key.Value), Text: value.Value},
			manifest: file, line: value.Line, literal: value.Style == yaml.LiteralStyle,
		})
		return nil
	})
	return found, err
}

// rulesOfConfigMap returns the rules in a ConfigMap of a cluster.
func rulesOfConfigMap(o *corev1.ConfigMap) (ruleFiles, error) {
	if len(o.BinaryData) > 0 {
		return nil, fmt.Errorf("the ConfigMap %s has binaryData, which is not read: put the rules into data", o.Name)
	}
	var found ruleFiles
	for _, key := range slices.Sorted(maps.Keys(o.Data)) {
		found = append(found, ruleFile{source: policies.Source{Name: o.Name + "/" + key, Text: o.Data[key]}})
	}
	return found, nil
}

func (f ruleFiles) sources() []policies.Source {
	sources := make([]policies.Source, len(f))
	for i, file := range f {
		sources[i] = file.source
	}
	return sources
}

// located adds the file and line in which a mistake was written to errors in custom rules.
func (f ruleFiles) located(err error) error {
	var mistakes policies.SourceErrors
	if !errors.As(err, &mistakes) {
		return err
	}
	lines := []string{"invalid rules:"}
	for _, mistake := range mistakes {
		lines = append(lines, f.locate(mistake))
	}
	return errors.New(strings.Join(lines, "\n"))
}

func (f ruleFiles) locate(mistake *policies.SourceError) string {
	i := slices.IndexFunc(f, func(file ruleFile) bool { return file.source.Name == mistake.Source })
	if i < 0 || f[i].manifest == "" {
		return mistake.Error()
	}
	file := f[i]
	key := strings.TrimPrefix(file.source.Name, file.manifest+":")
	if mistake.Line > 0 && file.literal {
		return fmt.Sprintf("%s:%d: %s: %s", file.manifest, file.line+mistake.Line, key, mistake.Message)
	}
	return fmt.Sprintf("%s:%d: %s", file.manifest, file.line, &policies.SourceError{Source: key, Line: mistake.Line, Message: mistake.Message})
}
