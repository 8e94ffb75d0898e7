// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command postrender runs the package postrender: manifests on the standard input, manifests on the standard output. Helm 3
// runs it with `helm template --post-renderer postrender`, Helm 4 as a plugin (plugin.yaml). It is also a KRM function, if the
// input is a ResourceList
// (https://github.com/kubernetes-sigs/kustomize/blob/master/cmd/config/docs/api-conventions/functions-spec.md).
//
// What may live here: input and output. What may not: changes to manifests.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/kio/kioutil"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/jupyterserver/jupyter-server-operator/postrender"
)

const usage = `postrender reads manifests from the standard input, adds the access control of a Jupyter server (the object AccessProxy),
applies the patches of spec.patches (the object Patches), and writes the result to the standard output.

  helm template alice chart-jupyter-server -f values.yaml --post-renderer postrender
`

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run writes everything or nothing.
func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) > 0 {
		if args[0] == "-h" || args[0] == "--help" {
			_, err := io.WriteString(out, usage)
			return err
		}
		return fmt.Errorf("unexpected argument %q: postrender takes no arguments and reads manifests from the standard input", args[0])
	}
	manifests, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the standard input: %w", err)
	}
	render := postrender.Run
	if isResourceList(manifests) {
		render = runFunction
	}
	result, err := render(manifests)
	if err != nil {
		return err
	}
	if _, err := out.Write(result); err != nil {
		return fmt.Errorf("writing the standard output: %w", err)
	}
	return nil
}

// isResourceList reports whether the input is that of a KRM function.
func isResourceList(input []byte) bool {
	var header struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(input)).Decode(&header); err != nil {
		return false
	}
	return header.Kind == kio.ResourceListKind && header.APIVersion == kio.ResourceListAPIVersion
}

// runFunction runs postrender.Run on the items of a ResourceList. Objects keep the annotations with their file; new ones have
// none.
func runFunction(input []byte) ([]byte, error) {
	var out bytes.Buffer
	list := &kio.ByteReadWriter{Reader: bytes.NewReader(input), Writer: &out, KeepReaderAnnotations: true}
	items, err := list.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the ResourceList: %w", err)
	}
	manifests, err := kio.StringAll(items)
	if err != nil {
		return nil, fmt.Errorf("reading the ResourceList: %w", err)
	}
	result, err := postrender.Run([]byte(manifests))
	if err != nil {
		return nil, err
	}
	if items, err = kio.ParseAll(string(result)); err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	if err := errors.Join(withoutIndexes(items), list.Write(items)); err != nil {
		return nil, fmt.Errorf("writing the ResourceList: %w", err)
	}
	return out.Bytes(), nil
}

// withoutIndexes removes the index annotations that kyaml added when it read the list and that are no longer right.
func withoutIndexes(items []*yaml.RNode) error {
	for _, item := range items {
		for _, name := range []string{kioutil.IndexAnnotation, legacyIndex} {
			if err := item.PipeE(yaml.ClearAnnotation(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// legacyIndex is the annotation that kyaml still adds in addition to kioutil.IndexAnnotation (kio/kioutil/kioutil.go).
const legacyIndex = "config.kubernetes.io/index"
