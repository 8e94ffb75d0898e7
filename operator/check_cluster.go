// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kubeconfig "sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/report"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/rules"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

// readCluster reads the servers and namespaces of a cluster, and its custom rules if --policies-namespace is set. It writes nothing.
func readCluster(ctx context.Context, o checkOptions) (inventory, ruleFiles, error) {
	reader, err := newClusterReader(o.context)
	if err != nil {
		return inventory{}, nil, err
	}
	var own ruleFiles
	if o.policiesNamespace != "" {
		if own, err = clusterRules(ctx, reader, o.policiesNamespace); err != nil {
			return inventory{}, nil, err
		}
	}
	inv := inventory{}
	if inv.candidates, err = clusterServers(ctx, reader, o.namespaces); err != nil {
		return inventory{}, nil, err
	}
	// Listed after the servers, so that the namespace of every server that still exists is among them.
	if inv.namespaces, err = clusterNamespaces(ctx, reader, o.namespaces); err != nil {
		return inventory{}, nil, err
	}
	inv.candidates = slices.DeleteFunc(inv.candidates, func(c candidate) bool {
		_, found := inv.namespaces[c.found.Namespace]
		return !found
	})
	return inv, own, nil
}

func newClusterReader(context string) (client.Reader, error) {
	cfg, err := kubeconfig.GetConfigWithContext(context)
	if err != nil {
		return nil, fmt.Errorf("loading the Kubernetes client configuration: %w", err)
	}
	cfg.UserAgent = "jupyter-server-operator/" + version + " check"
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	reader, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return reader, nil
}

// clusterServers returns all servers, or those of the namespaces, sorted.
func clusterServers(ctx context.Context, reader client.Reader, namespaces []string) ([]candidate, error) {
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var candidates []candidate
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
		err := listAll(ctx, reader, &v1alpha1.JupyterServerList{}, namespace, func(s *v1alpha1.JupyterServer) {
			candidates = append(candidates, clusterCandidate(s))
		})
		switch {
		case meta.IsNoMatchError(err):
			return nil, fmt.Errorf("the cluster has no JupyterServer API: install the operator's CRD (%w)", err)
		case err != nil && namespace != metav1.NamespaceAll:
			return nil, fmt.Errorf("listing the JupyterServers of the namespace %s: %w", namespace, err)
		case err != nil:
			return nil, fmt.Errorf("listing the JupyterServers of all namespaces: %w", err)
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.found.Namespace, b.found.Namespace), cmp.Compare(a.found.Name, b.found.Name))
	})
	return candidates, nil
}

func clusterCandidate(s *v1alpha1.JupyterServer) candidate {
	c := candidate{found: report.Server{Namespace: s.Namespace, Name: s.Name}}
	if err := s.Spec.Unreadable(); err != nil {
		c.found.Err = fmt.Errorf("the spec contains a value that Kubernetes does not accept: %w", err)
		return c
	}
	s.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.Kind)) // items of a list have none
	c.server = s
	return c
}

// clusterNamespaces returns the labels and annotations of all namespaces, or of those named. Rules and settings may depend on
// them, so a namespace that cannot be read is an error.
func clusterNamespaces(ctx context.Context, reader client.Reader, names []string) (map[string]policies.Namespace, error) {
	found := map[string]policies.Namespace{}
	add := func(o *metav1.PartialObjectMetadata) {
		found[o.Name] = policies.Namespace{Name: o.Name, Labels: o.Labels, Annotations: o.Annotations}
	}
	kind := corev1.SchemeGroupVersion.WithKind("Namespace")
	if len(names) == 0 {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind)
		err := listAll(ctx, reader, list, metav1.NamespaceAll, add)
		if apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("you are not allowed to list namespaces, whose labels rules and settings may use: ask for that permission, or limit the check with --namespaces (%w)", err)
		}
		if err != nil {
			return nil, fmt.Errorf("listing the namespaces: %w", err)
		}
		return found, nil
	}
	for _, name := range names {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(kind)
		err := reader.Get(ctx, client.ObjectKey{Name: name}, o)
		if apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("you are not allowed to get the namespace %s, whose labels rules and settings may use: ask for that permission (%w)", name, err)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the namespace %s: %w", name, err)
		}
		add(o)
	}
	return found, nil
}

// clusterRules returns the custom rules in the ConfigMaps that the operator would read.
func clusterRules(ctx context.Context, reader client.Reader, namespace string) (ruleFiles, error) {
	list := &corev1.ConfigMapList{}
	if err := reader.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{rules.Label: rules.LabelValue}); err != nil {
		return nil, fmt.Errorf("listing the ConfigMaps with rules of the namespace %s: %w", namespace, err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("--policies-namespace: the namespace %s has no ConfigMap with the label %s: %q", namespace, rules.Label, rules.LabelValue)
	}
	var found ruleFiles
	for i := range list.Items {
		more, err := rulesOfConfigMap(&list.Items[i])
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// listAll lists in pages of 500 (the pager's default), or everything at once if the continue token expires.
func listAll[T client.Object](ctx context.Context, reader client.Reader, empty client.ObjectList, namespace string, do func(T)) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		page, ok := empty.DeepCopyObject().(client.ObjectList)
		if !ok {
			return nil, fmt.Errorf("%T is not a list", empty)
		}
		return page, reader.List(ctx, page, &client.ListOptions{Namespace: namespace, Limit: o.Limit, Continue: o.Continue})
	})
	list, _, err := pages.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return meta.EachListItem(list, func(o runtime.Object) error {
		item, ok := o.(T)
		if !ok {
			return fmt.Errorf("the list contains a %T", o)
		}
		do(item)
		return nil
	})
}
