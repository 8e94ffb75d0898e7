// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dryrun_test asks a real API server whether it would take what the goldens of both charts hold. Tests that compare with a
// golden cannot tell: a number in quotation marks is in the golden, too.
package dryrun_test

import (
	"bufio"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// api is a client of an API server that knows the kinds of Kubernetes, and JupyterServers. kubectl runs against that server.
var (
	api     client.Client
	kubectl func(arguments ...string) (stdout, stderr io.Reader, err error)
)

func TestMain(m *testing.M) {
	apiservertest.Main(m, func(env *envtest.Environment, cfg *rest.Config) (func() error, error) {
		admin, err := env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, cfg)
		if err != nil {
			return nil, err
		}
		program, err := admin.Kubectl()
		if err != nil {
			return nil, err
		}
		kubectl = program.Run
		api, err = apiservertest.NewClient(cfg)
		return nil, err
	})
}

// Client-side apply, which Argo CD uses too, keeps what was applied in an annotation, which holds 256 KiB at most.
func TestCRDCanBeAppliedByTheClient(t *testing.T) {
	for range 2 { // the second time it is compared with the annotation
		if _, stderr, err := kubectl("apply", "--server-side=false", "-f", "../../operator/api/schema/jupyterserver.dev_jupyterservers.yaml"); err != nil {
			message, _ := io.ReadAll(stderr)
			t.Fatalf("kubectl apply: %v: %s", err, message)
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
	makeNamespace(t, object.GetNamespace())
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

func makeNamespace(t *testing.T, name string) {
	t.Helper()
	if name == "" {
		return
	}
	err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
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
