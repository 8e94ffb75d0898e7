package e2e

import (
	"cmp"
	"os"
	"strings"
	"testing"
)

// A server whose pod cannot start recovers when its spec is corrected, whether it was broken from the beginning or by an update.
// With OrderedReady, Kubernetes alone waits for ever for the broken pod (kubernetes/kubernetes#67250), so that without the
// operator's help each server here with "ordered" in its name stays as it is; those with the chart's own Parallel do not.
func TestStuckServersRecover(t *testing.T) {
	t.Parallel()
	breaks := map[string]string{
		"image":  `jupyterServer: {image: "localhost/nope:1"}`,
		"secret": `jupyterServer: {env: [{name: KEY, valueFrom: {secretKeyRef: {name: nope, key: nope}}}]}`,
		"map":    `jupyterServer: {envFrom: [{configMapRef: {name: nope}}]}`,
		"room":   `jupyterServer: {resources: {requests: {cpu: "1000"}}}`,
		"crash":  `jupyterServer: {extraArgs: [--ServerApp.port=nope]}`,
	}
	policies := map[string]string{
		"parallel": `{}`,
		"ordered":  `patches: [{target: {kind: StatefulSet}, type: merge, patch: '{"spec": {"podManagementPolicy": "OrderedReady"}}'}]`,
	}
	w := newWorld(t)
	w.apply("warm", lean) // the image is on the node, the namespace works
	w.running("warm")
	var first, later, all []string
	broken, sound := map[string]string{}, map[string]string{}
	for what, spec := range breaks {
		for how, policy := range policies {
			for _, when := range []string{"first", "later"} {
				name := strings.Join([]string{when, how, what}, "-")
				broken[name], sound[name] = w.manifest(name, lean, policy, spec), w.manifest(name, lean, policy)
				all = append(all, name)
				if when == "first" {
					first = append(first, name)
				} else {
					later = append(later, name)
				}
			}
		}
	}
	w.applyAll(append(pick(broken, first), pick(sound, later)...))
	w.eachFailed(first)
	w.eachRunning(later)
	w.applyAll(append(pick(sound, first), pick(broken, later)...))
	w.eachFailed(later)
	w.applyAll(pick(sound, later))
	w.eachRunning(all)
}
