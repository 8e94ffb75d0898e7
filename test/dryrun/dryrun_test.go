// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dryrun_test asks a real API server whether it would take what the goldens of both charts hold. Tests that compare with a
// golden cannot tell: a number in quotation marks is in the golden, too.
package dryrun_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// api is a client of an API server that knows the kinds of Kubernetes, and JupyterServers; kubeconfig is for kubectl.
var (
	api        client.Client
	kubeconfig string
)

func TestMain(m *testing.M) {
	apiservertest.Main(m, func(cp *apiservertest.ControlPlane) error {
		api, kubeconfig = cp.Client, cp.Kubeconfig
		return nil
	})
}

// Client-side apply, which Argo CD uses too, keeps what was applied in an annotation, which holds 256 KiB at most.
func TestCRDCanBeAppliedByTheClient(t *testing.T) {
	kubectl := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	for range 2 { // the second time it is compared with the annotation
		apply := exec.CommandContext(t.Context(), kubectl, "apply", "--kubeconfig", kubeconfig, "--server-side=false",
			"-f", "../../operator/api/schema/jupyterserver.dev_jupyterservers.yaml")
		if out, err := apply.CombinedOutput(); err != nil {
			t.Fatalf("kubectl apply: %v: %s", err, out)
		}
	}
}

// goldens are the files, and the section that holds objects. A golden with an error instead has no such section.
var goldens = []struct{ files, section string }{
	{"../../operator/internal/render/testdata/*.txtar", "manifest.yaml"},
	{"../../helm-chart/testdata/*.txt", "output"},
}

// notAsked are the kinds that the API server is not asked about, and why.
var notAsked = map[string]string{
	"CustomResourceDefinition": "the goldens leave its specification out, and all suites install it",
	"ServiceMonitor":           "a kind of the Prometheus operator",
	"Certificate":              "a kind of cert-manager",
	"Issuer":                   "a kind of cert-manager",
}

// refused are the objects that the API server has to refuse, and a part of what it says.
var refused = map[string]string{
	// What is not checked before is to be refused as what it is: a name that is none, not a field of its own.
	"hostile-strings.txtar: StatefulSet mallory": "spec.template.spec.priorityClassName",
}

func TestGoldensAreTaken(t *testing.T) {
	for _, of := range goldens {
		files, err := filepath.Glob(of.files)
		if err != nil || len(files) == 0 {
			t.Fatalf("no goldens in %s: %v", of.files, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				archive, err := txtar.ParseFile(file)
				if err != nil {
					t.Fatal(err)
				}
				checked := 0
				for _, section := range archive.Files {
					switch section.Name {
					case "error":
						return
					case of.section:
						for _, document := range documents(t, string(section.Data)) {
							check(t, filepath.Base(file), document)
							checked++
						}
					}
				}
				if checked == 0 {
					t.Errorf("no object is in the section %q of %s", of.section, file)
				}
			})
		}
	}
}

// check applies an object of a golden in a dry run, as it stands there: every field has to be known and set once, and every value
// allowed.
func check(t *testing.T, golden string, document []byte) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(document, object); err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	if notAsked[object.GetKind()] != "" {
		return
	}
	if object.GetNamespace() != "" {
		apiservertest.EnsureNamespace(t, api, object.GetNamespace(), nil)
	}
	name := golden + ": " + object.GetKind() + " " + object.GetName()
	err := api.Patch(t.Context(), object, client.RawPatch(types.ApplyYAMLPatchType, document), client.DryRunAll,
		client.FieldOwner("goldens"), client.FieldValidation(metav1.FieldValidationStrict))
	switch want := refused[name]; {
	case want == "" && err != nil:
		t.Errorf("%s: the API server refuses it: %v", name, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: the API server has to refuse it because of %s, the error is %v", name, want, err)
	}
}

// documents are those of a manifest, each of one object.
func documents(t *testing.T, manifest string) [][]byte {
	t.Helper()
	var out [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, document)
	}
}
