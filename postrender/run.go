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

// Run returns the manifests as they are released. Without a Patches object that is its argument, unchanged. It returns
// either all of them or an error: a *PatchError where a patch is to blame.
func Run(manifests []byte) ([]byte, error) {
	documents, err := parse(manifests)
	if err != nil {
		return nil, err
	}
	for _, next := range []step{applyPatches} {
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

//go:embed *.go
var sources embed.FS

// Digest changes when this package changes: it is over the sources, so that nobody has to remember a version.
func Digest() string { return digest() }

var digest = sync.OnceValue(func() string {
	files, err := fs.Glob(sources, "*.go") // sorted by name
	if err != nil {
		panic(err) // a bad pattern
	}
	sum := sha256.New()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := sources.ReadFile(file)
		if err != nil {
			panic(err) // an embedded file cannot be missing
		}
		fmt.Fprintf(sum, "%s %d\n", file, len(text))
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil))
})
