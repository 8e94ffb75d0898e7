// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

const plainServer = `
apiVersion: jupyterserver.dev/v1alpha1
kind: JupyterServer
metadata: {name: alice, namespace: science}
spec:
  routing: {host: jupyter.example.org, path: /alice, tls: {enabled: true}}
`

const oidcServer = plainServer + `
  auth:
    mode: oidc
    oidc:
      issuerUrl: https://accounts.example.org
      clientId: jupyter
      allow: {users: [alice]}
`

func TestUpdateWithoutNewViolationsIsAllowed(t *testing.T) {
	const settings = `
rules:
  image-registries: {allowed: [quay.io]}
  resources-bounds: {maxCPU: "4", maxMemory: 4Gi}
`
	server := func(image, cpu, more string) string {
		return plainServer + "  jupyterServer: {image: " + image + `, resources: {limits: {memory: 1Gi, cpu: "` + cpu + "\"}}}\n" + more
	}
	const privileged = "  pod: {containers: [{name: other, image: quay.io/x, resources: {limits: {cpu: 1m, memory: 1Mi}}, securityContext: {privileged: true}}]}\n"
	const bypass = "  patches: [{target: {kind: Service}, type: merge, patch: '{spec: {ports: [{port: 80, targetPort: 8888}]}}'}]\n"
	const running = "  patches: [{target: {kind: StatefulSet}, type: merge, patch: '{spec: {replicas: 1}}'}]\n"
	tests := map[string]struct {
		before, after string
		deny, warn    []string
		reason        string
	}{
		"was compliant": {
			server("quay.io/x", "1", ""), server("evil/x", "1", ""),
			[]string{"image-registries"}, nil, "the image is new",
		},
		"something else": {
			server("evil/x", "1", ""), server("evil/x", "2", ""),
			nil, []string{"image-registries"}, "the image was there before",
		},
		"another forbidden image": {
			server("evil/x", "1", ""), server("evil/y", "1", ""),
			[]string{"image-registries"}, nil, "it is a different violation",
		},
		"less of too much": {
			server("quay.io/x", "32", ""), server("quay.io/x", "16", ""),
			nil, []string{"resources-bounds"}, "the excess is smaller",
		},
		"more of too much": {
			server("quay.io/x", "16", ""), server("quay.io/x", "32", ""),
			[]string{"resources-bounds"}, nil, "the excess is larger",
		},
		"one is solved and one is new": {
			server("evil/x", "1", ""), server("quay.io/x", "9", ""),
			[]string{"resources-bounds"}, nil, "a fixed violation does not compensate for a new one",
		},
		"suspended": {
			server("evil/x", "9", ""), server("evil/x", "9", "  suspend: true\n"),
			nil, []string{"image-registries", "resources-bounds"}, "a server can always be stopped",
		},
		"suspended and more": {
			server("quay.io/x", "1", ""), server("evil/x", "1", "  suspend: true\n"),
			[]string{"image-registries"}, nil, "the update also changes the image",
		},
		"resumed": {
			server("evil/x", "1", "  suspend: true\n"), server("evil/x", "1", ""),
			nil, []string{"image-registries"}, "the image was there before",
		},
		"privileged": {
			server("evil/x", "1", ""), server("evil/x", "1", privileged),
			[]string{"pod-security"}, []string{"image-registries"}, "the privileged container is new",
		},
		"broken access control": {
			oidcServer + "  jupyterServer: {resources: {limits: {cpu: 1, memory: 1Gi}}}\n" + bypass,
			oidcServer + "  jupyterServer: {resources: {limits: {cpu: 2, memory: 1Gi}}}\n" + bypass,
			[]string{"oidc-intact"}, nil, "an open server is always denied",
		},
		"broken access control, suspended": {
			oidcServer + "  jupyterServer: {image: quay.io/x, resources: {limits: {cpu: 1, memory: 1Gi}}}\n" + bypass,
			oidcServer + "  jupyterServer: {image: quay.io/x, resources: {limits: {cpu: 1, memory: 1Gi}}}\n  suspend: true\n" + bypass,
			nil, []string{"oidc-intact"}, "a suspended server is not open",
		},
		"suspended, but running": {
			server("quay.io/x", "9", running), server("quay.io/x", "9", "  suspend: true\n"+running),
			[]string{"rendered-kinds"}, []string{"resources-bounds"}, "the pod would keep running",
		},
	}
	evaluator := newEvaluator(t, settings)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(t, read(t, test.after))
			in.Operation, in.OldObject = policies.Update, read(t, test.before)
			in.RenderOld = func() (objects, expected []*unstructured.Unstructured, err error) {
				objects, expected = rendered(t, in.OldObject)
				return objects, expected, nil
			}
			result, err := evaluator.Evaluate(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(result.Denials()); !slices.Equal(got, test.deny) {
				t.Errorf("denied by %v, want %v, because %s; all: %+v", got, test.deny, test.reason, result.Verdicts)
			}
			if got := ids(result.Warnings()); !slices.Equal(got, test.warn) {
				t.Errorf("warned by %v, want %v, because %s; all: %+v", got, test.warn, test.reason, result.Verdicts)
			}
			for _, v := range result.Warnings() {
				if !strings.Contains(v.Message, "before this change") {
					t.Errorf("%q does not explain the downgrade", v.Message)
				}
			}
		})
	}
}

// Without the old objects, an update is evaluated like a new server.
func TestUpdateWithoutOldObjectsIsEvaluatedAsNew(t *testing.T) {
	in := input(t, read(t, plainServer+"  auth: {mode: none}\n"))
	in.Operation, in.OldObject = policies.Update, in.Object.DeepCopy()
	result, err := newEvaluator(t, "").Evaluate(t.Context(), in)
	if err != nil || !result.Denied() {
		t.Errorf("%+v, %v", result, err)
	}
}
