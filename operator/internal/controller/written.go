// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// writtenStatus is the last status that was written for a server. It is remembered for as long as the informers lag behind it:
// a turn of the loop in between would write the same once more.
type writtenStatus struct {
	uid             types.UID
	resourceVersion string
	status          v1alpha1.JupyterServerStatus
}

func statusOf(server *v1alpha1.JupyterServer) writtenStatus {
	return writtenStatus{server.UID, server.ResourceVersion, *server.Status.DeepCopy()}
}

// restore gives a server of the informers the status that was written last, if the informers have not seen it yet.
func restore(written *memory[writtenStatus], server *v1alpha1.JupyterServer) {
	key := client.ObjectKeyFromObject(server)
	last, ok := written.get(key)
	if !ok {
		return
	}
	order, err := resourceversion.CompareResourceVersion(server.ResourceVersion, last.resourceVersion)
	if err != nil || order >= 0 || server.UID != last.uid {
		written.forget(key)
		return
	}
	server.Status = *last.status.DeepCopy()
}
