// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

// step is one step of the pipeline. It may change, add and remove documents.
type step func([]*document) ([]*document, error)

// ourAPIVersion is the API version of AccessProxy and Patches objects.
const ourAPIVersion = "postrender.jupyterserver.dev/v1alpha1"

// Run returns the manifests to release. Without an AccessProxy or a Patches object it returns its argument unchanged. It
// returns either all manifests or an error: a *PatchError if a patch fails.
func Run(manifests []byte) ([]byte, error) {
	documents, err := parse(manifests)
	if err != nil {
		return nil, err
	}
	for _, next := range []step{protect, applyPatches} {
		if documents, err = next(documents); err != nil {
			return nil, err
		}
	}
	return join(documents)
}

// Renderer implements Helm's postrender.PostRenderer (helm.sh/helm/v3/pkg/postrender) with Run.
type Renderer struct{}

// Run returns the manifests to release.
func (Renderer) Run(manifests *bytes.Buffer) (*bytes.Buffer, error) {
	out, err := Run(manifests.Bytes())
	if err != nil {
		return nil, err
	}
	return bytes.NewBuffer(out), nil
}

//go:embed *.go profiles templates
var sources embed.FS

// Digest changes when this package changes. It is computed over the sources, so that no version has to be maintained by hand.
func Digest() string { return digest() }

var digest = sync.OnceValue(func() string {
	sum := sha256.New()
	err := fs.WalkDir(sources, ".", func(file string, entry fs.DirEntry, err error) error { // sorted by name
		if err != nil || entry.IsDir() || strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := sources.ReadFile(file)
		fmt.Fprintf(sum, "%s %d\n", file, len(text))
		sum.Write(text)
		return err
	})
	if err != nil {
		panic(err) // an embedded file cannot be missing
	}
	return hex.EncodeToString(sum.Sum(nil))
})
