// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// serverName is the name of the one server of a namespace.
const serverName = "alice"

// createdKinds are the kinds of all objects that the operator creates.
var createdKinds = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Version: "v1", Kind: "Service"},
	{Version: "v1", Kind: "PersistentVolumeClaim"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Secret"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
}

// snapshot is the state of a namespace, by object. It is equal for two namespaces with the same history.
type snapshot map[string]string

// snapshots returns the state of namespaces.
func snapshots(ctx context.Context, namespaces ...string) (map[string]snapshot, error) {
	var servers v1alpha1.JupyterServerList
	if err := suite.client.List(ctx, &servers); err != nil {
		return nil, err
	}
	objects, err := created(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]snapshot{}
	for _, namespace := range namespaces {
		out[namespace] = snapshot{}
	}
	uids := map[string]types.UID{}
	for i := range servers.Items {
		if s := &servers.Items[i]; out[s.Namespace] != nil {
			uids[s.Namespace] = s.UID
			out[s.Namespace]["JupyterServer"] = statusOf(s)
		}
	}
	for i := range objects {
		o := &objects[i]
		if out[o.GetNamespace()] == nil {
			continue
		}
		name := nameOf(o)
		text, err := describe(o, uids[o.GetNamespace()])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[o.GetNamespace()][name] = strings.ReplaceAll(text, o.GetNamespace(), "NAMESPACE")
	}
	return out, nil
}

// nameOf returns the name of an object, or the revision of a record.
func nameOf(o *unstructured.Unstructured) string {
	if isRecord(o) {
		return "record " + o.GetLabels()["version"]
	}
	return o.GetKind() + " " + o.GetName()
}

// created returns all objects that the operator created, in a namespace or in all.
func created(ctx context.Context, options ...client.ListOption) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, kind := range createdKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := suite.client.List(ctx, list, options...); err != nil {
			return nil, fmt.Errorf("listing %s: %w", kind.Kind, err)
		}
		out = append(out, list.Items...)
	}
	return out, nil
}

// statusOf returns what a status reports about the release. What it reports about the pod changes with time, because no pod starts.
func statusOf(server *v1alpha1.JupyterServer) string {
	if server.DeletionTimestamp != nil {
		return string(server.Status.State)
	}
	text := fmt.Sprintf("up to date: %v\n", server.Status.ObservedGeneration == server.Generation)
	for _, kind := range []string{v1alpha1.ConditionReleased, v1alpha1.ConditionStalled, v1alpha1.ConditionPolicyCompliant} {
		condition := meta.FindStatusCondition(server.Status.Conditions, kind)
		if condition == nil {
			condition = &metav1.Condition{}
		}
		text += fmt.Sprintf("%s: %s, up to date: %v", kind, condition.Status, condition.ObservedGeneration == server.Generation)
		if condition.Status == metav1.ConditionTrue {
			text += " " + condition.Message
		}
		text += "\n"
	}
	if server.Status.Release != nil {
		text += fmt.Sprintf("release %s, revision %d\n", server.Status.Release.Name, server.Status.Release.Revision)
	}
	return text
}

func isRecord(o *unstructured.Unstructured) bool {
	kind, _, _ := unstructured.NestedString(o.Object, "type")
	return kind == "helm.sh/release.v1"
}

// digests matches digests of Secrets and of applied objects, and names of cookies. They depend on the UID or the namespace.
var digests = regexp.MustCompile(`\b[0-9a-f]{32}\b|js-[0-9a-f]{16}`)

// describe returns an object without the fields that differ each time it is created.
func describe(o *unstructured.Unstructured, server types.UID) (string, error) {
	text := "owned by " + owners(o, server) + "\n"
	if isRecord(o) {
		record, err := decode(o)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("%s, label %s\n%v\n%s", record.Info.Status, o.GetLabels()["status"], record.Config, record.Manifest)
		return digests.ReplaceAllString(text, "DIGEST"), nil
	}
	content := o.DeepCopy().Object
	delete(content, "status")
	data, isSecret := content["data"].(map[string]any)
	if isSecret && o.GetKind() == "Secret" {
		for key, value := range data {
			data[key] = len(fmt.Sprint(value))
		}
	}
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "ownerReferences"} {
		unstructured.RemoveNestedField(content, "metadata", field)
	}
	unstructured.RemoveNestedField(content, "spec", "clusterIP")
	unstructured.RemoveNestedField(content, "spec", "clusterIPs")
	raw, err := json.MarshalIndent(content, "", " ")
	return digests.ReplaceAllString(text+string(raw), "DIGEST"), err
}

// owners returns the owners of an object. Those with another UID than the server are marked.
func owners(o *unstructured.Unstructured, server types.UID) string {
	var names []string
	for _, owner := range o.GetOwnerReferences() {
		name := owner.Kind + " " + owner.Name
		if owner.UID != server {
			name += ", another one"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "no owner"
	}
	return strings.Join(names, " and ")
}

// decode decodes a record as Helm does (helm.sh/helm/v3/pkg/storage/driver/util.go). It is encoded twice with base64: by Helm and by
// the Secret.
func decode(o *unstructured.Unstructured) (*helmrelease.Release, error) {
	packed, _, _ := unstructured.NestedString(o.Object, "data", "release")
	inner, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return nil, err
	}
	unpacked, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(inner)))
	if err != nil {
		return nil, err
	}
	record := &helmrelease.Release{}
	return record, json.NewDecoder(unpacked).Decode(record)
}

// differences returns an error with all differences between two snapshots.
func differences(got, want snapshot) error {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		there, ok := got[name]
		switch {
		case !ok:
			lines = append(lines, name+" is missing")
		case there != want[name]:
			lines = append(lines, name+" differs: "+difference(there, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			lines = append(lines, name+" should not exist")
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n\t"))
}

// difference returns the first difference between two texts.
func difference(got, want string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	around := func(text string) string { return text[min(max(0, at-60), len(text)):min(at+100, len(text))] }
	return fmt.Sprintf("%q, want %q", around(got), around(want))
}
