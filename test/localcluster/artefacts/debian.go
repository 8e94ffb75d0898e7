// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// defaultMirror is used on machines without a configured mirror.
const defaultMirror = "http://deb.debian.org/debian"

// InstallPackages installs missing Debian packages.
func InstallPackages(ctx context.Context, progress io.Writer, packages ...string) error {
	missing := missingPackages(ctx, packages)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s must be installed, but there is no apt-get", strings.Join(missing, ", "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s must be installed, which requires root: apt-get install %s",
			strings.Join(missing, ", "), strings.Join(missing, " "))
	}
	if progress == nil {
		progress = io.Discard
	}
	report := report{out: progress}
	return report.step("packages "+strings.Join(missing, " "), func() error {
		if err := aptGet("update").run(ctx); err != nil {
			return err
		}
		return aptGet(append([]string{"install", "--yes", "--no-install-recommends"}, missing...)...).run(ctx)
	})
}

func aptGet(arguments ...string) command {
	return command{
		environment: []string{"DEBIAN_FRONTEND=noninteractive"},
		name:        "apt-get",
		arguments:   append([]string{"--quiet"}, arguments...),
	}
}

func missingPackages(ctx context.Context, packages []string) []string {
	var missing []string
	for _, name := range packages {
		status, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat", "${db:Status-Status}", name).Output()
		if err != nil || string(status) != "installed" {
			missing = append(missing, name)
		}
	}
	return missing
}

// mirror returns the Debian mirror that this machine is configured with.
func mirror(etcApt string) (string, error) {
	files := []string{filepath.Join(etcApt, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		found, err := filepath.Glob(filepath.Join(etcApt, "sources.list.d", pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if uri := debianURI(string(content)); uri != "" {
			return uri, nil
		}
	}
	return defaultMirror, nil
}

// debianURI returns the first URI of Debian's main archive in an apt sources file, in one-line or deb822 style. The
// main archive ends in /debian on every mirror; others, such as debian-security, do not.
func debianURI(sources string) string {
	lines := bufio.NewScanner(strings.NewReader(sources))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "deb" && !strings.EqualFold(words[0], "URIs:") {
			continue
		}
		for _, word := range words[1:] {
			uri := strings.TrimSuffix(word, "/")
			if strings.Contains(uri, "://") && strings.HasSuffix(uri, "/debian") {
				return uri
			}
		}
	}
	return ""
}
