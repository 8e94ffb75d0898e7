package controller_test

import (
	"errors"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// An operator that is killed in an upgrade leaves a record. When the upgrade is taken back before the next one starts, only the
// generation tells that there was one.
func TestRecordOfAnUpgradeThatWasTakenBack(t *testing.T) {
	for reason, status := range map[string]helmrelease.Status{
		"killed before the objects were applied":            helmrelease.StatusPendingUpgrade,
		"killed before the status was written":              helmrelease.StatusDeployed,
		"refused, and killed before the status was written": helmrelease.StatusFailed,
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.create(w.server("alice"))
			w.released("alice")
			w.quiet()
			kube, err := kubernetes.NewForConfig(suite.config)
			if err != nil {
				t.Fatal(err)
			}
			records := driver.NewSecrets(kube.CoreV1().Secrets(w.namespace))
			record, err := records.Get("sh.helm.release.v1.alice.v1")
			if err != nil {
				t.Fatal(err)
			}
			record.Version, record.Manifest, record.Info.Status = 2, "# another one", status
			if err := records.Create("sh.helm.release.v1.alice.v2", record); err != nil {
				t.Fatal(err)
			}
			w.change("alice", func(s *v1alpha1.JupyterServer) { s.Spec.Release = &v1alpha1.Release{RollbackOnFailure: ptr.To(true)} })
			w.eventually("the records are right", func() error {
				list, history := w.helm("list"), w.helm("history", "alice")
				if !strings.Contains(list, "deployed") || strings.Count(history, "deployed") != 1 || strings.Contains(history, "pending") {
					return errors.New(list + history)
				}
				return nil
			})
			if manifest := w.helm("get", "manifest", "alice"); !strings.Contains(manifest, "kind: StatefulSet") {
				t.Errorf("the newest manifest is not what is there:\n%s", manifest)
			}
		})
	}
}
