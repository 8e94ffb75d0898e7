// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"context"
	"errors"
	"os"
	"strings"
)

// rootfs is a Debian system in a tar file.
type rootfs struct {
	suite    string
	packages []string
	exclude  []string // paths that dpkg excludes
	hooks    []string // shell commands that complete the system; its folder is $1
}

// jupyterlab is Debian's JupyterLab, without documentation and without the sources of its JavaScript bundles: Node.js
// would be two thirds of the image.
func jupyterlab() rootfs {
	return rootfs{
		suite: "trixie",
		packages: []string{
			"jupyter-client",
			"jupyter-core",
			"jupyter-server",
			"jupyterlab",
			"python3-ipykernel",
			"tini",
		},
		exclude: documentation(),
		hooks: []string{
			`chroot "$1" useradd --uid 1000 --gid 100 --create-home --shell /bin/bash jovyan`,
			`rm -rf "$1"/usr/bin/node* "$1"/usr/share/nodejs "$1"/usr/lib/*/nodejs "$1"/usr/lib/*/libnode.so.*`,
			`chroot "$1" find /usr/bin /usr/share/javascript -xtype l -delete`,
			forgetMachine,
		},
	}
}

// modAuthOpenidc is Debian's Apache with mod_auth_openidc, an authentication plugin (examples/profiles). Perl is only needed to
// configure its packages and would be half of the image.
func modAuthOpenidc() rootfs {
	return rootfs{
		suite:    "trixie",
		packages: []string{"apache2-bin", "ca-certificates", "libapache2-mod-auth-openidc"},
		exclude:  documentation(),
		hooks: []string{
			`rm -rf "$1"/usr/bin/perl* "$1"/usr/share/perl* "$1"/usr/lib/*/perl* "$1"/usr/lib/*/libperl.so.*`,
			forgetMachine,
		},
	}
}

// documentation is excluded from all images.
func documentation() []string {
	return []string{
		"/usr/share/doc/*",
		"/usr/share/info/*",
		"/usr/share/lintian/*",
		"/usr/share/locale/*",
		"/usr/share/man/*",
	}
}

// forgetMachine removes files of the building machine.
const forgetMachine = `rm -f "$1/etc/resolv.conf" "$1/etc/hostname"`

// jupyterlabImage contains JupyterLab and starts it like the images of the Jupyter project, as the user jovyan.
func jupyterlabImage() recipe {
	return systemImage("jupyterlab", jupyterlab(), ImageSpec{
		Ref:        "localhost/jupyterlab:4.0",
		Cmd:        []string{"jupyter", "lab"},
		User:       "1000",
		WorkingDir: "/home/jovyan",
		Env: []string{
			"PATH=/usr/local/bin:/usr/bin:/bin",
			"HOME=/home/jovyan",
			"LANG=C.UTF-8",
			"SHELL=/bin/bash",
		},
	})
}

func modAuthOpenidcImage() recipe {
	return systemImage("mod-auth-openidc", modAuthOpenidc(), ImageSpec{
		Ref:        "localhost/mod-auth-openidc:2.4",
		Entrypoint: []string{"/usr/sbin/apache2"},
		User:       "65532:65532",
		Env:        []string{"PATH=/usr/sbin:/usr/bin:/bin"},
	})
}

// systemImage contains a Debian system.
func systemImage(name string, system rootfs, spec ImageSpec) recipe {
	return recipe{
		name:  name + "-image",
		files: []string{imageFile(name)},
		terms: terms(spec, system),
		make: func(ctx context.Context, j job) error {
			layer := j.output("rootfs.tar")
			if err := system.write(ctx, j.workspace, layer); err != nil {
				return err
			}
			return packLayer(spec, layer, j.output(imageFile(name)))
		},
	}
}

// write creates the tar file, from the mirror of this machine.
func (r rootfs) write(ctx context.Context, temporary, output string) error {
	if os.Geteuid() != 0 {
		return errors.New("creating a Debian system requires root")
	}
	if err := InstallPackages(ctx, nil, "mmdebstrap"); err != nil {
		return err
	}
	from, err := mirror("/etc/apt")
	if err != nil {
		return err
	}
	c := command{
		// A fixed date for all files makes the tar file reproducible.
		environment: []string{"TMPDIR=" + temporary, "SOURCE_DATE_EPOCH=1735689600"},
		// mmdebstrap mounts /proc, /sys and /dev/shm of this machine into the new system. In separate
		// namespaces, its mounts and processes end with it in any case; otherwise removing the folder of a
		// killed run would remove the mounted files.
		name: "unshare",
		arguments: append([]string{"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "mmdebstrap"},
			r.arguments(from, output)...),
	}
	return c.run(ctx)
}

func (r rootfs) arguments(mirror, output string) []string {
	arguments := []string{
		"--mode=root",
		"--variant=minbase",
		"--format=tar",
		"--include=" + strings.Join(r.packages, ","),
	}
	for _, path := range r.exclude {
		arguments = append(arguments, "--dpkgopt=path-exclude="+path)
	}
	for _, hook := range r.hooks {
		arguments = append(arguments, "--customize-hook="+hook)
	}
	return append(arguments, r.suite, output, mirror)
}
