package release

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
)

// Somebody who runs `helm uninstall` or `helm rollback` changes the objects, which the informers show, and the records, which they do
// not. So after every repair the records are looked at, once: when Helm, which writes them last, should be done.
const (
	reviewAfter = settleTime
	// patience is for how long a record that says that Helm is at work is believed.
	patience = 5 * time.Minute
)

// review looks at the records after a repair, and makes a new one where the newest is not the release any more. It returns after what
// time to look again, where Helm is still at work.
func (e *Engine) review(ctx context.Context, server *v1alpha1.JupyterServer, rendered *render.Rendered, obs Observation) (*v1alpha1.ReleaseStatus, time.Duration, error) {
	released := e.Released(server)
	records, err := e.records(ctx, server)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case onlyDeployed(records, released.Revision):
		e.written.setRepaired(server, time.Time{})
		return released, 0, nil
	case helmIsAtWork(records, released.Revision) && e.clock.Since(e.written.repaired(server)) < patience:
		return released, reviewAfter, nil
	}
	if released, err = e.upgrade(ctx, server, rendered, obs, "Recorded again", released.RolledBack); err != nil {
		return nil, 0, err
	}
	e.written.setRepaired(server, time.Time{})
	return released, 0, nil
}

// records are the metadata of the records of a name, whoever made them.
func (e *Engine) records(ctx context.Context, server *v1alpha1.JupyterServer) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := e.live.List(ctx, list, client.InNamespace(server.Namespace), client.MatchingLabels{"owner": "helm", "name": server.Name})
	if err != nil {
		return nil, fmt.Errorf("listing the release records: %w", err)
	}
	return list.Items, nil
}

// revisionOf reads the labels of a record (helm.sh/helm/v3/pkg/storage/driver/secrets.go).
func revisionOf(record metav1.PartialObjectMetadata) int {
	revision, err := strconv.Atoi(record.Labels["version"])
	if err != nil {
		return 0
	}
	return revision
}

func onlyDeployed(records []metav1.PartialObjectMetadata, revision int) bool {
	found := false
	for _, record := range records {
		deployed := record.Labels["status"] == helmrelease.StatusDeployed.String()
		switch is := revisionOf(record); {
		case is > revision, is != revision && deployed:
			return false
		case is == revision:
			found = deployed
		}
	}
	return found
}

func helmIsAtWork(records []metav1.PartialObjectMetadata, revision int) bool {
	for _, record := range records {
		status := record.Labels["status"]
		if revisionOf(record) >= revision && (strings.HasPrefix(status, "pending-") || status == helmrelease.StatusUninstalling.String()) {
			return true
		}
	}
	return false
}
