// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

const (
	// downloadTimeout is how long the download of a file may take.
	downloadTimeout = 30 * time.Second
	// largestFile is the most bytes of a download: as much as the API server takes in one request, for a hundred servers.
	largestFile = 3 << 20 * 100
)

// sources are what -f names, as kubectl understands it: files, folders, URLs, and - for standard input.
type sources struct {
	names     []string
	recursive bool
}

func (s *sources) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVarP(&s.names, "filename", "f", nil, "file, folder or URL with JupyterServers; - reads standard input")
	flags.BoolVarP(&s.recursive, "recursive", "R", false, "read the folders below a folder as well")
}

// source is one text, or the error of reading it.
type source struct {
	name     string // empty for standard input
	text     []byte
	err      error
	inFolder bool // it need not have a JupyterServer
}

// errNoServer is the error of a source without a JupyterServer.
var errNoServer = errors.New("contains no JupyterServer")

// read reads all sources. A folder stands for its files that end in .json, .yaml or .yml; one without any is an error.
func (s *sources) read(ctx context.Context, stdin io.Reader) []source {
	var found []source
	for _, name := range s.names {
		switch info, err := os.Stat(name); {
		case name == "-":
			text, err := io.ReadAll(stdin)
			found = append(found, source{text: text, err: err})
		case strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://"):
			text, err := download(ctx, name)
			found = append(found, source{name: withoutSecrets(name), text: text, err: err})
		case err == nil && info.IsDir():
			found = append(found, s.readFolder(name)...)
		default:
			found = append(found, readFile(name))
		}
	}
	return found
}

func (s *sources) readFolder(name string) []source {
	folder, err := filepath.EvalSymlinks(name)
	if err != nil {
		return []source{{name: displayName(name), err: err}}
	}
	var found []source
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != folder && !s.recursive:
			return fs.SkipDir
		case entry.Type().IsRegular() && slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(path)):
			file := readFile(path)
			file.inFolder = true
			found = append(found, file)
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = errors.New("contains no file that ends in .json, .yaml or .yml")
	}
	if err != nil {
		found = append(found, source{name: displayName(name), err: err})
	}
	return found
}

func readFile(path string) source {
	text, err := os.ReadFile(path)
	if pathError := new(fs.PathError); errors.As(err, &pathError) {
		err = pathError.Err // the name is added where it is printed
	}
	return source{name: displayName(path), text: text, err: err}
}

// withoutSecrets returns a URL for the output: without a password, and without a query, which may hold a token.
func withoutSecrets(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "URL"
	}
	parsed.User, parsed.RawQuery = nil, ""
	return parsed.String()
}

func download(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if withURL, ok := errors.AsType[*url.Error](err); ok {
		return nil, withURL.Err
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, largestFile+1))
	if err == nil && len(text) > largestFile {
		err = fmt.Errorf("is larger than %d MiB", largestFile>>20)
	}
	return text, err
}

// displayName returns the path of a file in the output: relative if it is below the working directory.
func displayName(file string) string {
	here, err := os.Getwd()
	if err != nil || !filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	if relative, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return filepath.Clean(file)
}
