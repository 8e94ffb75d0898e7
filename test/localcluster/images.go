// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Images: loading archives into the node's container runtime.

package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// preloadedImages are the archives in the store that a new node loads.
var preloadedImages = []string{"pause", "coredns", "traefik", "jupyterlab", "mod-auth-openidc"}

// Names of preloaded images, as packed by package artefacts.
const (
	pauseImage   = "localhost/pause:1"
	corednsImage = "localhost/coredns:1"
	traefikImage = "localhost/traefik:3.7.9"
)

// loadImage imports an archive unless its content is already present.
func (c *cluster) loadImage(ctx context.Context, archive string) error {
	if !c.processAlive("containerd") {
		return errors.New("load the image: no node is running: run up first")
	}
	id, err := archiveID(archive)
	if err != nil {
		return fmt.Errorf("read %s: %w", archive, err)
	}
	record := filepath.Join(c.layout.loadedImages(), id)
	if refs, err := os.ReadFile(record); err == nil && c.haveImages(ctx, strings.Fields(string(refs))) {
		return nil
	}
	var refs []byte
	err = c.progress.step(ctx, "import "+filepath.Base(archive), func(ctx context.Context) error {
		output, err := c.ctr(ctx, "images", "import", archive).CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s: %w\n%s", archive, err, lastLines(string(output), 10))
		}
		refs = archiveRefs(archive)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.forgetImages(string(refs)); err != nil {
		return err
	}
	return writeFile(record, refs, 0o644)
}

// ctr returns a command of containerd's client in the namespace of the kubelet.
func (c *cluster) ctr(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--address", c.layout.containerdSocket(), "--namespace", "k8s.io"}, args...)
	return exec.CommandContext(ctx, c.layout.program("ctr"), args...)
}

func (c *cluster) haveImages(ctx context.Context, refs []string) bool {
	output, err := c.ctr(ctx, "images", "list", "--quiet").Output()
	if err != nil {
		return false
	}
	have := map[string]bool{}
	for ref := range strings.FieldsSeq(string(output)) {
		have[ref] = true
	}
	for _, ref := range refs {
		if !have[ref] {
			return false
		}
	}
	return true
}

// forgetImages removes the records of other archives with the same names, which now
// refer to the imported archive.
func (c *cluster) forgetImages(refs string) error {
	entries, err := os.ReadDir(c.layout.loadedImages())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		record := filepath.Join(c.layout.loadedImages(), e.Name())
		content, err := os.ReadFile(record)
		if err != nil {
			return err
		}
		if string(content) == refs {
			if err := os.Remove(record); err != nil {
				return err
			}
		}
	}
	return nil
}

// archiveID identifies an archive's content without reading its layers: the index
// of a Docker or an OCI archive contains the digests of the rest.
func archiveID(archive string) (string, error) {
	for _, index := range []string{"manifest.json", "index.json"} {
		content, err := readFromTar(archive, index)
		if err != nil {
			return "", err
		}
		if content != nil {
			return fmt.Sprintf("%x", sha256.Sum256(content)), nil
		}
	}
	return "", errors.New("neither a Docker nor an OCI archive: no manifest.json, no index.json")
}

// archiveRefs returns the names of an archive's images, one per line. It returns none for an OCI archive, whose record
// then only states that it was imported.
func archiveRefs(archive string) []byte {
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) })
	if err != nil {
		return nil
	}
	var refs []string
	for _, image := range manifest {
		refs = append(refs, image.RepoTags...)
	}
	return []byte(strings.Join(refs, "\n") + "\n")
}

func readFromTar(archive, wanted string) ([]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened only for reading
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(header.Name) == wanted {
			return io.ReadAll(r)
		}
	}
}
