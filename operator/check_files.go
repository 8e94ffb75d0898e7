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

// readFiles reads what -f names. What is wrong in a file is an error of that file or server only.
func readFiles(ctx context.Context, stdin io.Reader, o checkOptions) (world, error) {
	reader, err := schema.NewReader()
	if err != nil {
		return world{}, err
	}
	w := world{namespaces: map[string]policies.Namespace{}}
	for _, file := range o.files {
		text, err := readText(stdin, file)
		if file = displayed(file); err != nil {
			w.candidates = append(w.candidates, candidate{found: report.Server{File: file, Err: err}})
			continue
		}
		w.candidates = append(w.candidates, serversOf(ctx, reader, text, file, o.namespace)...)
		w.addNamespaces(text)
	}
	return w, nil
}

func readText(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, errors.Unwrap(err) // whoever prints it names the file
	}
	return text, nil
}

// displayed is how a file is called in the output: by its way from the working directory, as far as it is in there. The
// standard input has no name.
func displayed(file string) string {
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

// serversOf are the servers of a file, of which there must be one.
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
		// Both read the same documents in the same order, but for those that are not YAML or of no kind.
		if entry.Namespace != "" && len(documents) > 0 {
			c.lines, documents = &documents[0], documents[1:]
			c.found.Line = c.lines.Start()
		}
		candidates = append(candidates, c)
	}
	if len(candidates) == 0 {
		return []candidate{{found: report.Server{File: file, Err: errors.New("holds no JupyterServer")}}}
	}
	return candidates
}

// addNamespaces takes the labels and annotations of Namespaces that stand beside the servers. What is not YAML was reported
// already.
func (w world) addNamespaces(text []byte) {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var o metav1.PartialObjectMetadata
		if err := documents.Decode(&o); err != nil {
			return
		}
		if o.GroupVersionKind() == corev1.SchemeGroupVersion.WithKind("Namespace") {
			w.namespaces[o.Name] = policies.Namespace{Name: o.Name, Labels: o.Labels, Annotations: o.Annotations}
		}
	}
}
