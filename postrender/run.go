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

// step is one step of the pipeline. It may change, add and take out documents.
type step func([]*document) ([]*document, error)

// ourAPIVersion is that of the objects that are for this step alone.
const ourAPIVersion = "postrender.jupyterserver.dev/v1alpha1"

// Run returns the manifests as they are released. Without an AccessProxy or a Patches object that is its argument, unchanged.
// It returns either all of them or an error: a *PatchError where a patch is to blame.
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

// Renderer is Run as Helm's postrender.PostRenderer (helm.sh/helm/v3/pkg/postrender).
type Renderer struct{}

// Run returns the manifests as they are released.
func (Renderer) Run(manifests *bytes.Buffer) (*bytes.Buffer, error) {
	out, err := Run(manifests.Bytes())
	if err != nil {
		return nil, err
	}
	return bytes.NewBuffer(out), nil
}

//go:embed *.go profiles templates
var sources embed.FS

// Digest changes when this package changes: it is over the sources, so that nobody has to remember a version.
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
