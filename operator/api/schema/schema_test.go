// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/schema"
)

func newReader(t *testing.T) *schema.Reader {
	t.Helper()
	reader, err := schema.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

// TestRejected reads servers that must be rejected, one document at a time. The controller's suite sends the same documents to a
// real API server.
func TestRejected(t *testing.T) {
	raw, err := os.ReadFile("testdata/refused.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reader := newReader(t)
	for _, document := range bytes.Split(raw, []byte("\n---\n"))[1:] {
		reason, want := annotation(document, "test/reason"), annotation(document, "test/want")
		t.Run(reason, func(t *testing.T) {
			_, err := reader.Read(t.Context(), bytes.NewReader(document), "default")
			if err == nil || !containsInOrder(err.Error(), want) {
				t.Errorf("error %v, want an error with %q", err, want)
			}
		})
	}
}

// containsInOrder reports whether a message contains the parts of want, the field path and the sentence, in this order.
func containsInOrder(message, want string) bool {
	for part := range strings.SplitSeq(want, "…") {
		_, rest, found := strings.Cut(message, part)
		if !found {
			return false
		}
		message = rest
	}
	return true
}

// annotation returns an annotation of a document that may not be a valid object.
func annotation(document []byte, name string) string {
	_, rest, _ := strings.Cut(string(document), `"`+name+`": "`)
	value, _, _ := strings.Cut(strings.ReplaceAll(rest, `\"`, "\x00"), `"`)
	return strings.ReplaceAll(value, "\x00", `"`)
}

func TestRead(t *testing.T) {
	tests := []struct {
		reason string
		text   string
		want   string // an error
		count  int
	}{
		{reason: "documents of other kinds are skipped", text: "kind: Secret\napiVersion: v1\nmetadata: {name: x}\n---\n---\napiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: a}\nspec: {routing: {host: h}}\n", count: 1},
		{reason: "a misspelled field is an error", text: "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: a}\nspec: {routing: {host: h}, jupyterserver: {image: x}}\n", want: `unknown field "spec.jupyterserver"`},
		{reason: "a misspelled version is an error", text: "apiVersion: jupyterserver.dev/v1alpha\nkind: JupyterServer\nmetadata: {name: a}\nspec: {routing: {host: h}}\n", want: `"jupyterserver.dev/v1alpha1"`},
		{reason: "a misspelled kind is an error", text: "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupiterServer\nmetadata: {name: a}\n", want: `"JupiterServer"`},
		{reason: "a missing version is an error", text: "kind: JupyterServer\nmetadata: {name: a}\n", want: `apiVersion ""`},
		{reason: "an item of a list is named", text: "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret}, {apiVersion: jupyterserver.dev/v1alpha1, kind: JupyterServer, metadata: {name: a}}]\n", want: "document 1, item 2, JupyterServer \"a\": spec: Required"},
		{reason: "an item without a kind is an error", text: "apiVersion: v1\nkind: List\nitems: [{metadata: {name: a}}]\n", want: "document 1, item 1: kind is missing"},
		{reason: "a name is required", text: "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nspec: {routing: {host: h}}\n", want: "metadata.name is missing"},
		{reason: "text that is not YAML", text: "a: b: c", want: "document 1: invalid YAML"},
		{reason: "an object without a kind", text: "a: b", want: "document 1"},
		{reason: "an empty file", text: "", count: 0},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			servers, err := newReader(t).Read(t.Context(), strings.NewReader(test.text), "default")
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("error %v, want %q", err, test.want)
				}
				return
			}
			if err != nil || len(servers) != test.count {
				t.Fatalf("%d servers, error %v", len(servers), err)
			}
		})
	}
}

func TestReadEachContinuesAfterAnError(t *testing.T) {
	const server = "apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: %s}\nspec: {routing: {%s: h}}\n---\n"
	text := fmt.Sprintf(server, "a", "hots") + "kind: Secret\napiVersion: v1\n---\n" + fmt.Sprintf(server, "b", "host") + "a: b: c\n---\n" + fmt.Sprintf(server, "c", "host")
	var got []string
	for _, entry := range newReader(t).ReadEach(t.Context(), strings.NewReader(text), "default") {
		got = append(got, fmt.Sprintf("%s/%s %t %t", entry.Namespace, entry.Name, entry.Server != nil, entry.Err != nil))
	}
	if want := []string{"default/a false true", "default/b true false", "/ false true"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadDefaults(t *testing.T) {
	servers, err := newReader(t).Read(t.Context(), strings.NewReader("apiVersion: jupyterserver.dev/v1alpha1\nkind: JupyterServer\nmetadata: {name: a}\nspec: {routing: {host: h}}\n"), "science")
	if err != nil {
		t.Fatal(err)
	}
	s := servers[0]
	if s.Namespace != "science" || s.Spec.Storage.Size != "1Gi" || s.Spec.Routing.Path != "/" || s.Spec.Auth.Mode != "token" || s.Spec.JupyterServer.RootDir != "/home/jovyan/work" {
		t.Errorf("defaults are missing: %+v", s)
	}
}

// The CRD stays well below what an annotation may hold (256 KiB), so that it can be applied by clients, and is no burden to releases.
func TestCRDIsSmall(t *testing.T) {
	raw, err := os.ReadFile("jupyterserver.dev_jupyterservers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	if size, most := len(asJSON), 200_000; size > most {
		t.Errorf("the CRD is %d bytes as JSON, want %d at most", size, most)
	}
}
