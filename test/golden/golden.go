// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package golden compares what comes out of a test with a file that holds it, and rewrites the file when the tests run with the
// flag -update. The flag is the package's, so only tests may import it.
package golden

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
)

var update = flag.Bool("update", false, "rewrite the goldens with what comes out now")

// longest is the number of lines after which a diff is cut off.
const longest = 40

// started is the folder of the package under test. It is read before a test can change the working directory.
var started, _ = os.Getwd()

// Check fails the test when a file does not hold the given content: what came out, and before it the input where the golden has
// one. The failure shows the first lines of the difference, and then the command that rewrites the file. A relative name of the
// file counts from the folder of the package under test.
func Check(t testing.TB, file, content string) {
	t.Helper()
	if !filepath.IsAbs(file) {
		file = filepath.Join(started, file)
	}
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err == nil && string(raw) == content {
		return
	}
	if *update {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	root := moduleRoot()
	t.Errorf("%s differs from what comes out now:\n%s\nwhere the change is meant, rewrite the golden: go test ./%s -run '^%s$' -update",
		relative(root, file), Diff("golden", "now", string(raw), content), relative(root, started), testFunction(t.Name()))
}

// Diff is the first lines of a unified diff of two texts, whose names stand at its head.
func Diff(nameA, nameB, a, b string) string {
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(a), B: difflib.SplitLines(b), FromFile: nameA, ToFile: nameB, Context: 3,
	})
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if more := len(lines) - longest; more > 0 {
		lines = append(lines[:longest], fmt.Sprintf("... and %d more lines", more))
	}
	return strings.Join(lines, "\n")
}

// testFunction is the function of a test or of one of its subtests.
func testFunction(name string) string {
	function, _, _ := strings.Cut(name, "/")
	return function
}

// moduleRoot is the folder with the go.mod of the package under test. Without one it is that package's folder.
func moduleRoot() string {
	for dir := started; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return started
		}
	}
}

func relative(base, path string) string {
	short, err := filepath.Rel(base, path)
	if err != nil {
		return path
	}
	return filepath.ToSlash(short)
}
