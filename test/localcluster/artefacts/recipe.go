// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"context"
	"path/filepath"
	"runtime"
)

const (
	binFolder    = "bin"
	imagesFolder = "images"
)

// recipe describes how an artefact is built.
type recipe struct {
	name  string
	needs []string // dependencies, all of which precede it
	files []string // outputs, below the store's folder
	from  []string // input files and folders, below the source
	terms string   // further inputs
	stamp string   // its key, if it has to be built
	make  func(ctx context.Context, j job) error
}

// job is one build of a recipe, which creates the recipe's files below the workspace.
type job struct {
	workspace string
	store     string
	source    string
}

func (j job) output(file string) string { return filepath.Join(j.workspace, file) }

func (j job) component(name string) string { return filepath.Join(j.source, "components", name) }

// recipes lists all recipes, each after its dependencies.
func recipes() []recipe {
	return []recipe{
		kubernetes().recipe(),
		containerd().recipe(),
		coredns().recipe(),
		helm().recipe(),
		traefik().recipe(),
		pauseImage(),
		programImage("coredns", ImageSpec{
			Ref:        "localhost/coredns:1",
			Entrypoint: []string{"/coredns"},
			User:       "65532:65532",
		}),
		programImage("traefik", ImageSpec{
			Ref:        "localhost/traefik:3.7.9",
			Entrypoint: []string{"/traefik"},
			User:       "65532:65532",
		}),
		jupyterlabImage(),
		modAuthOpenidcImage(),
	}
}

// kubernetes is the control plane, and on Linux the programs of the node.
func kubernetes() component {
	c := component{
		name: "kubernetes",
		programs: []program{
			{"etcd", "go.etcd.io/etcd/server/v3"},
			{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
			{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
			{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
			{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
		},
		// Clients depend on the version of the API server, which the sources alone do not contain.
		variables: map[string]string{
			"k8s.io/component-base/version.gitVersion": "v1.37.2",
			"k8s.io/component-base/version.gitMajor":   "1",
			"k8s.io/component-base/version.gitMinor":   "37",
			"k8s.io/client-go/pkg/version.gitVersion":  "v1.37.2",
		},
	}
	if runtime.GOOS == "linux" {
		c.programs = append(c.programs,
			program{"kubelet", "k8s.io/kubernetes/cmd/kubelet"},
			program{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"},
		)
	}
	return c
}

func containerd() component {
	return component{
		name: "containerd",
		programs: []program{
			{"containerd", "github.com/containerd/containerd/v2/cmd/containerd"},
			{"containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"},
			{"ctr", "github.com/containerd/containerd/v2/cmd/ctr"},
		},
		tags: "no_btrfs no_devmapper no_zfs",
	}
}

func coredns() component {
	return component{name: "coredns", programs: []program{{"coredns", "."}}}
}

func helm() component {
	return component{
		name:     "helm",
		programs: []program{{"helm", "helm.sh/helm/v3/cmd/helm"}},
		// The default of `helm template` for the cluster's version.
		variables: map[string]string{
			"helm.sh/helm/v3/internal/version.version":       "v3.22.0",
			"helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor":  "1",
			"helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor":  "37",
			"helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor": "1",
			"helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor": "37",
		},
	}
}

func traefik() component {
	return component{
		name:     "traefik",
		programs: []program{{"traefik", "github.com/traefik/traefik/v3/cmd/traefik"}},
		prepare:  placeLego,
	}
}

// pauseImage contains the project's own pause program.
func pauseImage() recipe {
	spec := ImageSpec{Ref: "localhost/pause:1", Entrypoint: []string{"/pause"}, User: "65535"}
	pause := program{"pause", "./artefacts/pause"}
	return recipe{
		name:  "pause-image",
		files: []string{imageFile("pause")},
		from:  []string{"artefacts/pause"},
		terms: terms(spec, pause),
		make: func(ctx context.Context, j job) error {
			binary := j.output("pause")
			if err := pause.build(ctx, j.source, binary, "", nil); err != nil {
				return err
			}
			spec.Files = []ImageFile{{Source: binary, Dest: "/pause", Mode: 0o755}}
			return Pack(spec, j.output(imageFile("pause")))
		},
	}
}

// programImage contains only a program of the store, at the root.
func programImage(program string, spec ImageSpec) recipe {
	return recipe{
		name:  program + "-image",
		needs: []string{program},
		files: []string{imageFile(program)},
		terms: terms(spec),
		make: func(_ context.Context, j job) error {
			spec.Files = []ImageFile{{
				Source: filepath.Join(j.store, binFolder, program),
				Dest:   "/" + program,
				Mode:   0o755,
			}}
			return Pack(spec, j.output(imageFile(program)))
		},
	}
}

func imageFile(name string) string {
	return filepath.Join(imagesFolder, name+".tar")
}
