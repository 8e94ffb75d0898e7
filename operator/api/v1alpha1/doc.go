// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 contains the JupyterServer resource: its Go types, from which the CRD, the chart's values schema and
// the deep copies are generated (make generate).
//
// It contains types, their validation markers, condition types and reasons; no behaviour, and no imports of other packages
// of this project.
//
// +kubebuilder:object:generate=true
// +groupName=jupyterserver.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "jupyterserver.dev", Version: "v1alpha1"}

// Kind is the only kind of the group.
const Kind = "JupyterServer"

// ServerLabel is on every object of a server. Its value is the server's name.
const ServerLabel = "jupyterserver.dev/name"

// AddToScheme registers the types of this package with a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &JupyterServer{}, &JupyterServerList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
