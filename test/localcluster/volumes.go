// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Volumes: a provisioner of volumes in folders of this machine, with expansion.
//
// Kubernetes' host path provisioner does not work for non-root pods: it creates
// folders owned by root, and a hostPath volume ignores fsGroup
// (pkg/volume/hostpath/host_path.go: mode 0750, Managed false). A local volume
// supports it (pkg/volume/local/local.go).

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is the provisioner of the StorageClass in addons/cluster.yaml.
const provisionerName = "jupyterserver.dev/localcluster"

type provisionerOptions struct {
	kubeconfig string
	volumes    string
}

// runProvisioner provisions volumes until the context ends.
func runProvisioner(ctx context.Context, o provisionerOptions) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create a client: %w", err)
	}
	// First, because it adds to the scheme that the informer of the grower reads (controller.NewProvisionController).
	provisioner := controller.NewProvisionController(ctx, client, provisionerName, folderProvisioner{root: o.volumes},
		controller.LeaderElection(false),
		controller.MetricsPort(0),
	)
	if err := startGrower(ctx, client); err != nil {
		return err
	}
	provisioner.Run(ctx)
	return ctx.Err()
}

// folderProvisioner creates one folder per volume.
type folderProvisioner struct {
	root string
}

// Provision creates the folder and returns it as a local volume of this node.
func (p folderProvisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if mode := o.PVC.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return nil, controller.ProvisioningFinished, fmt.Errorf("volume mode %s is not supported: use Filesystem", *mode)
	}
	path := filepath.Join(p.root, o.PVName)
	// Writable by all, so that a pod without fsGroup can write too, as on a new disk
	// with the fsGroup set by the kubelet.
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("create the volume's folder: %w", err)
	}
	if err := os.Chmod(path, 0o777); err != nil { // independently of the umask
		return nil, controller.ProvisioningFinished, fmt.Errorf("set the mode of the volume's folder: %w", err)
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: path},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key:      corev1.LabelHostname,
						Operator: corev1.NodeSelectorOpIn,
						Values:   []string{nodeName},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the folder and its content.
func (p folderProvisioner) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	// Only folders created by Provision are removed, whatever the object contains.
	path := filepath.Join(p.root, volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return &controller.IgnoredError{Reason: "its folder was not created by this provisioner"}
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove the volume's folder: %w", err)
	}
	return nil
}

// grower expands claims to their requested size. A folder has no size limit, so it
// only updates the objects.
type grower struct {
	client kubernetes.Interface
}

func startGrower(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, time.Minute)
	g := grower{client: client}
	_, err := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, now any) {
			claim, ok := now.(*corev1.PersistentVolumeClaim)
			if !ok {
				return
			}
			// Failures are retried when the informer resyncs.
			if err := g.grow(ctx, claim); err != nil {
				fmt.Fprintf(os.Stderr, "grow %s/%s: %v\n", claim.Namespace, claim.Name, err)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch the claims: %w", err)
	}
	factory.Start(ctx.Done())
	return nil
}

func (g grower) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	wanted := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	have, bound := claim.Status.Capacity[corev1.ResourceStorage]
	if !bound || claim.Status.Phase != corev1.ClaimBound || wanted.Cmp(have) <= 0 {
		return nil
	}
	volume, err := g.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the volume: %w", err)
	}
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisionerName {
		return nil
	}
	capacity := corev1.ResourceList{corev1.ResourceStorage: wanted}
	volumePatch, err1 := json.Marshal(map[string]any{"spec": map[string]any{"capacity": capacity}})
	claimPatch, err2 := json.Marshal(map[string]any{"status": map[string]any{"capacity": capacity}})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// The volume first: a claim must not exceed its volume.
	_, err = g.client.CoreV1().PersistentVolumes().Patch(ctx, volume.Name, types.StrategicMergePatchType, volumePatch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("grow the volume: %w", err)
	}
	_, err = g.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name,
		types.StrategicMergePatchType, claimPatch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("grow the claim: %w", err)
	}
	return nil
}
