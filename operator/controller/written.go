package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// writtenStatuses remembers the last status that was written for each server, for as long as the informers lag behind it:
// a turn of the loop in between would write the same once more. Its zero value is ready for use.
type writtenStatuses struct {
	mu      sync.Mutex
	servers map[client.ObjectKey]writtenStatus
}

type writtenStatus struct {
	uid             types.UID
	resourceVersion string
	status          v1alpha1.JupyterServerStatus
}

// remember keeps what the API server answered to a write.
func (w *writtenStatuses) remember(server *v1alpha1.JupyterServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers == nil {
		w.servers = map[client.ObjectKey]writtenStatus{}
	}
	w.servers[client.ObjectKeyFromObject(server)] = writtenStatus{server.UID, server.ResourceVersion, *server.Status.DeepCopy()}
}

// restore gives a server of the informers the status that was written last, if the informers have not seen it yet.
func (w *writtenStatuses) restore(server *v1alpha1.JupyterServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := client.ObjectKeyFromObject(server)
	last, ok := w.servers[key]
	if !ok {
		return
	}
	order, err := resourceversion.CompareResourceVersion(server.ResourceVersion, last.resourceVersion)
	if err != nil || order >= 0 || server.UID != last.uid {
		delete(w.servers, key)
		return
	}
	server.Status = *last.status.DeepCopy()
}

func (w *writtenStatuses) forget(key client.ObjectKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.servers, key)
}
