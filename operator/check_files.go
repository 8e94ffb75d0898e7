// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	for _, file := range o.files {
		text, err := readText(stdin, file)
		if file = displayName(file); err != nil {
			inv.candidates = append(inv.candidates, candidate{found: report.Server{File: file, Err: err}})
			continue
		}
		inv.candidates = append(inv.candidates, serversOf(ctx, reader, text, file, o.namespace)...)
		inv.addNamespaces(text)
	}
	return inv, nil
}

func readText(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, errors.Unwrap(err) // the caller adds the file name
	}
	return text, nil
}

// displayName returns the path of a file in the output: relative if it is below the working directory. Standard input has no
// name.
func displayName(file string) string {
	if file == "-" {
		return ""
	}
	here, err := os.Getwd()
	if err != nil || !filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	if relative, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return filepath.Clean(file)
}

// serversOf returns the servers of a file. A file without any is an error.
func serversOf(ctx context.Context, reader *schema.Reader, text []byte, file, namespace string) []candidate {
	documents := report.Documents(text, v1alpha1.GroupVersion.String(), v1alpha1.Kind)
	var candidates []candidate
	for _, entry := range reader.ReadEach(ctx, bytes.NewReader(text), namespace) {
		c := candidate{
			found:  report.Server{File: file, Namespace: entry.Namespace, Name: entry.Name, Err: entry.Err},
			server: entry.Server,
		}
		if entry.Err != nil && entry.Name == "" {
			c.found.Err = fmt.Errorf("document %d: %w", entry.Document, entry.Err)
		}
		// Both read the same documents in the same order, except those that are not YAML or have no kind.
		if entry.Namespace != "" && len(documents) > 0 {
			c.lines, documents = &documents[0], documents[1:]
			c.found.Line = c.lines.Start()
		}
		candidates = append(candidates, c)
	}
	if len(candidates) == 0 {
		return []candidate{{found: report.Server{File: file, Err: errors.New("contains no JupyterServer")}}}
	}
	return candidates
}

// addNamespaces adds the labels and annotations of the Namespaces in a file. Documents that are not YAML were reported already.
func (inv inventory) addNamespaces(text []byte) {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var o metav1.PartialObjectMetadata
		if err := documents.Decode(&o); err != nil {
			return
		}
		if o.GroupVersionKind() == corev1.SchemeGroupVersion.WithKind("Namespace") {
			inv.namespaces[o.Name] = policies.Namespace{Name: o.Name, Labels: o.Labels, Annotations: o.Annotations}
		}
	}
}
