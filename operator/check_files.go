// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/report"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// readFiles reads the files that -f names. An error in a file affects only that file or server.
func readFiles(ctx context.Context, stdin io.Reader, o checkOptions) (inventory, error) {
	reader, err := schema.NewReader()
	if err != nil {
		return inventory{}, err
	}
	inv := inventory{namespaces: map[string]policies.Namespace{}}
	for _, file := range o.files.read(ctx, stdin) {
		if file.err != nil {
			inv.candidates = append(inv.candidates, candidate{found: report.Server{File: file.name, Err: file.err}})
			continue
		}
		inv.candidates = append(inv.candidates, serversOf(ctx, reader, file, o.namespace)...)
		inv.addNamespaces(file.text)
	}
	if len(inv.candidates) == 0 { // folders with other objects
		inv.candidates = []candidate{{found: report.Server{File: displayName(o.files.names[0]), Err: errNoServer}}}
	}
	return inv, nil
}

// serversOf returns the servers of a file. A file without any is an error, unless it is in a folder.
func serversOf(ctx context.Context, reader *schema.Reader, file source, namespace string) []candidate {
	documents := report.Documents(file.text, v1alpha1.GroupVersion.String(), v1alpha1.Kind)
	var candidates []candidate
	for _, entry := range reader.ReadEach(ctx, bytes.NewReader(file.text), namespace) {
		c := candidate{
			found:  report.Server{File: file.name, Namespace: entry.Namespace, Name: entry.Name, Err: entry.Err},
			server: entry.Server,
		}
		if entry.Err != nil && entry.Name == "" {
			c.found.Err = fmt.Errorf("%s: %w", entry.Position(), entry.Err)
		}
		// Both read the same documents in the same order, except those that are not YAML or have no kind.
		if entry.Namespace != "" && len(documents) > 0 {
			c.lines, documents = &documents[0], documents[1:]
			c.found.Line = c.lines.Start()
		}
		candidates = append(candidates, c)
	}
	if len(candidates) == 0 && !file.inFolder {
		return []candidate{{found: report.Server{File: file.name, Err: errNoServer}}}
	}
	return candidates
}

// addNamespaces adds the labels and annotations of the Namespaces in a file. Documents that are not YAML were reported already.
func (inv inventory) addNamespaces(text []byte) {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		document := &unstructured.Unstructured{}
		if err := documents.Decode(&document.Object); err != nil {
			return
		}
		for _, o := range schema.Items(document) {
			if o.GroupVersionKind() == corev1.SchemeGroupVersion.WithKind("Namespace") {
				inv.namespaces[o.GetName()] = policies.Namespace{Name: o.GetName(), Labels: o.GetLabels(), Annotations: o.GetAnnotations()}
			}
		}
	}
}
