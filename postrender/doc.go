// Package postrender is the step between the chart and the release: manifests in, manifests out. It applies the patches
// of a JupyterServer, which the chart passes on in one Patches object:
//
//	apiVersion: postrender.jupyterserver.dev/v1alpha1
//	kind: Patches
//	metadata: {name: alice, annotations: {config.kubernetes.io/local-config: "true"}}
//	spec:
//	  patches:
//	    - target: {kind: StatefulSet, name: alice}
//	      type: json | merge | strategic
//	      patch: |
//	        ...
//
// No cluster knows that kind, so a manifest which missed this step cannot be applied. The object is taken out of the
// stream; what no patch touches is written as it came, byte for byte.
//
// Read run.go first. document.go reads and writes the stream, patches.go finds what is patched, change.go holds the three
// formats of a patch, graft.go brings a result back into the text.
//
// What may live here: pure, deterministic functions of manifests. What may not: a cluster, a clock, randomness, policy,
// knowledge of the chart's values, and imports of this project other than operator/api.
package postrender
