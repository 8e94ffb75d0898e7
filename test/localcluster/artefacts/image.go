// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ImageSpec describes the content and the entry point of an image.
type ImageSpec struct {
	// Ref is the image's name and tag, for pods with imagePullPolicy Never or IfNotPresent.
	Ref              string
	Files            []ImageFile
	Entrypoint, Cmd  []string
	User, WorkingDir string
	Env              []string
}

// ImageFile is a file of an image, owned by root.
type ImageFile struct {
	Source string
	Dest   string
	Mode   os.FileMode
}

// Pack writes an image with only the spec's files as an archive for `ctr images import`. The archive is
// reproducible.
func Pack(spec ImageSpec, output string) error {
	layer := output + ".layer"
	defer os.Remove(layer)
	if err := writeLayer(spec.Files, layer); err != nil {
		return fmt.Errorf("pack %s: %w", spec.Ref, err)
	}
	return packLayer(spec, layer, output)
}

// packLayer writes an image with one layer, a tar file.
func packLayer(spec ImageSpec, layer, output string) error {
	tag, err := name.NewTag(spec.Ref, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("pack %s: %w", spec.Ref, err)
	}
	image, err := spec.image(layer)
	if err != nil {
		return fmt.Errorf("pack %s: %w", spec.Ref, err)
	}
	if err := tarball.WriteToFile(output+".new", tag, image); err != nil {
		os.Remove(output + ".new")
		return fmt.Errorf("pack %s: %w", spec.Ref, err)
	}
	return os.Rename(output+".new", output)
}

func (spec ImageSpec) image(layer string) (v1.Image, error) {
	content, err := openLayer(layer)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, content)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		Entrypoint: spec.Entrypoint,
		Cmd:        spec.Cmd,
		User:       spec.User,
		WorkingDir: spec.WorkingDir,
		Env:        spec.Env,
	}
	return mutate.ConfigFile(image, config)
}

// writeLayer writes files and their parent folders into a tar file without times.
func writeLayer(files []ImageFile, output string) error {
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	folders := map[string]bool{"/": true}
	for _, f := range files {
		dest := path.Join("/", filepath.ToSlash(f.Dest))
		if err := writeFolders(archive, path.Dir(dest), folders); err != nil {
			return err
		}
		if err := writeFile(archive, f, dest); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return file.Close()
}

func writeFolders(archive *tar.Writer, folder string, written map[string]bool) error {
	if written[folder] {
		return nil
	}
	if err := writeFolders(archive, path.Dir(folder), written); err != nil {
		return err
	}
	written[folder] = true
	return archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir,
		Name:     strings.TrimPrefix(folder, "/") + "/",
		Mode:     0o755,
	})
}

func writeFile(archive *tar.Writer, f ImageFile, dest string) error {
	source, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	err = archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg,
		Name:     strings.TrimPrefix(dest, "/"),
		Mode:     int64(f.Mode.Perm()),
		Size:     info.Size(),
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(archive, source)
	return err
}

// layer is a tar file that becomes a layer unchanged. Images are not sent over a network, so compression would only
// cost time, here and at every import.
type layer struct {
	path string
	hash v1.Hash
	size int64
}

func openLayer(path string) (v1.Layer, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return nil, err
	}
	hash := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	return layer{path: path, hash: hash, size: size}, nil
}

// Digest returns the hash of the file.
func (l layer) Digest() (v1.Hash, error) { return l.hash, nil }

// DiffID returns the hash of the uncompressed file, which is the same.
func (l layer) DiffID() (v1.Hash, error) { return l.hash, nil }

// Compressed opens the file.
func (l layer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Uncompressed opens the file.
func (l layer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Size returns the size of the file.
func (l layer) Size() (int64, error) { return l.size, nil }

// MediaType returns the type of an uncompressed layer.
func (l layer) MediaType() (types.MediaType, error) { return types.DockerUncompressedLayer, nil }
