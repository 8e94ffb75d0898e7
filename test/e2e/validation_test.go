// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
)

func TestInvalidSpecsAreRejectedAtApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		reason, name, spec string
		words              []string // parts of the error of kubectl
	}{
		{reason: "a bad memory limit", spec: `jupyterServer: {resources: {limits: {memory: lots}}}`, words: []string{"spec.jupyterServer.resources.limits", "must be a non-negative quantity"}},
		{reason: "a request above its limit", spec: `jupyterServer: {resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}}`, words: []string{"spec.jupyterServer.resources", "at most its limit"}},
		{reason: "a bad size", spec: `storage: {size: 10 gigs}`, words: []string{"spec.storage.size", "must be a quantity"}},
		{reason: "a size of zero", spec: `storage: {size: 0}`, words: []string{"spec.storage.size"}},
		{reason: "a host with a scheme", spec: `routing: {host: "http://jupyter.example.org"}`, words: []string{"spec.routing.host", "must be a DNS name"}},
		{reason: "a host with a port", spec: `routing: {host: "jupyter.example.org:8000"}`, words: []string{"spec.routing.host", "must be a DNS name"}},
		{reason: "a path without leading slash", spec: `routing: {path: alice}`, words: []string{"spec.routing.path", "must start with a slash"}},
		{reason: "a path with dots", spec: `routing: {path: /alice/..}`, words: []string{"spec.routing.path"}},
		{reason: "a name of 53 characters", name: strings.Repeat("a", 53), words: []string{"metadata.name", "52 characters"}},
		{reason: "a name that starts with a digit", name: "1alice", words: []string{"metadata.name", "start with a letter"}},
		{reason: "a value and a reference", spec: `auth: {token: {value: 0123456789abcdef, secretKeyRef: {name: a, key: b}}}`, words: []string{"spec.auth.token", "exactly one of value and secretKeyRef"}},
		{reason: "an unknown mode", spec: `auth: {mode: open}`, words: []string{"spec.auth.mode", `"token"`}},
		{reason: "oidc without its section", spec: `auth: {mode: oidc}`, words: []string{"spec.auth", "oidc is not set"}},
		{reason: "a token by the back door", spec: `jupyterServer: {extraArgs: [--IdentityProvider.token=]}`, words: []string{"spec.jupyterServer.extraArgs", "must not set"}},
		{reason: "a token by the environment", spec: `jupyterServer: {env: [{name: JUPYTER_TOKEN, value: x}]}`, words: []string{"spec.jupyterServer.env", "JUPYTER_TOKEN"}},
		{reason: "two places for the files", spec: `storage: {ephemeral: true, existingClaim: mine}`, words: []string{"spec.storage", "not both"}},
		{reason: "an unknown field", spec: `jupyterServer: {imgae: x}`, words: []string{"spec.jupyterServer.imgae"}},
		{reason: "a bad image", spec: `jupyterServer: {image: "my image"}`, words: []string{"spec.jupyterServer.image", "must be an image reference"}},
	}
	for _, test := range tests {
		name, spec := test.name, test.spec
		if name == "" {
			name = "alice"
		}
		if spec == "" {
			spec = "{}"
		}
		err := w.tryApply(w.manifest(name, spec))
		if err == nil {
			t.Errorf("%s: was accepted", test.reason)
			w.kubectl("delete", "jupyterserver", name)
			continue
		}
		for _, word := range test.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error lacks %q: %v", test.reason, word, err)
			}
		}
	}
}

// A name of 52 characters, the maximum, works: its pod starts.
func TestLongestNameRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := strings.Repeat("a", 52)
	w.server(name)
}

func TestImmutableFieldsAreRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", `{suspend: true, storage: {size: 1Gi}}`)
	for spec, want := range map[string]string{
		`{suspend: true, storage: {size: 512Mi}}`:                          "size can only grow",
		`{suspend: true, storage: {size: 1Gi, storageClassName: another}}`: "storageClassName cannot be changed",
	} {
		err := w.tryApply(w.manifest("alice", spec))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "spec.storage") {
			t.Errorf("%s: got %v, want an error with spec.storage and %q", spec, err, want)
		}
	}
}
