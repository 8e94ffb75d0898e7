// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Volumes: a provisioner that makes folders of this machine into volumes, and lets
// them grow.
//
// Kubernetes' own host path provisioner is of no use to a pod that is not root: it
// makes root's folders, and a hostPath volume takes no notice of fsGroup
// (pkg/volume/hostpath/host_path.go: mode 0750, Managed false). A local volume
// does take notice of it (pkg/volume/local/local.go).

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

// provisionerName is the one that addons/cluster.yaml's StorageClass names.
const provisionerName = "jupyterserver.dev/localcluster"

type provisionerOptions struct {
	kubeconfig string
	volumes    string
}

// runProvisioner works until the context ends.
func runProvisioner(ctx context.Context, o provisionerOptions) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := startGrower(ctx, client); err != nil {
		return err
	}
	controller.NewProvisionController(ctx, client, provisionerName, folderProvisioner{root: o.volumes},
		controller.LeaderElection(false),
		controller.MetricsPort(0),
	).Run(ctx)
	return ctx.Err()
}

// folderProvisioner makes one folder per volume.
type folderProvisioner struct {
	root string
}

// Provision makes the folder and describes it as a local volume of this node.
func (p folderProvisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if mode := o.PVC.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return nil, controller.ProvisioningFinished, fmt.Errorf("volume mode %s: only file systems are served", *mode)
	}
	path := filepath.Join(p.root, o.PVName)
	// Open to all, as a new disk would be once the kubelet has given it its fsGroup:
	// a pod without fsGroup can write, too.
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make the volume's folder: %w", err)
	}
	if err := os.Chmod(path, 0o777); err != nil { // whatever the umask is
		return nil, controller.ProvisioningFinished, fmt.Errorf("open the volume's folder: %w", err)
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

// Delete removes the folder and what is in it.
func (p folderProvisioner) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	// Only ever what Provision has made, whatever the object says by now.
	path := filepath.Join(p.root, volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return &controller.IgnoredError{Reason: "its folder is not one of this provisioner's"}
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove the volume's folder: %w", err)
	}
	return nil
}

// grower gives claims the larger size that they ask for. A folder has no size of
// its own, so that all there is to do is to say so.
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
			// What fails now is tried again when the informer resyncs.
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
	// The volume first: a claim must never have more than its volume.
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
