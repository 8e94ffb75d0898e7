// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// TestTwoOperatorsAtOnce runs two operators on the same servers, as when a leader that was paused has not noticed yet that it lost
// its lease. The result must be that of one operator, except that there may be more revisions.
func TestTwoOperatorsAtOnce(t *testing.T) {
	const servers, upgrades = 20, 5
	traffic := newTraffic()
	over := func(next http.RoundTripper) http.RoundTripper { return traffic.over(hesitant(next)) }
	stale := start(t, over)
	start(t, over)
	var namespaces []string
	for range servers {
		namespaces = append(namespaces, newNamespace(t))
	}
	each(t, namespaces, func(namespace string) error { return create(tokenServer)(t.Context(), namespace) })
	for i := range upgrades {
		// Every second upgrade begins before the previous one is complete.
		if i%2 == 0 {
			allSane(t, traffic, namespaces, imageOf(i))
		}
		each(t, namespaces, func(namespace string) error { return change(image(imageOf(i+1)))(t.Context(), namespace) })
	}
	allSane(t, traffic, namespaces, imageOf(upgrades))
	stale.stop()
	each(t, namespaces, func(namespace string) error { return change(image("example.org/image:last"))(t.Context(), namespace) })
	allSane(t, traffic, namespaces, "example.org/image:last")
}

// hesitant delays requests, so that the writes of two operators arrive in all orders.
func hesitant(next http.RoundTripper) http.RoundTripper {
	return apiservertest.RoundTripper(func(r *http.Request) (*http.Response, error) {
		if namespace, _ := classify(r); namespace != "" {
			time.Sleep(rand.N(20 * time.Millisecond))
		}
		return next.RoundTrip(r)
	})
}

// imageOf returns the image of a server after i upgrades. The first is the default.
func imageOf(i int) string {
	if i == 0 {
		return "quay.io/jupyter/minimal-notebook:latest"
	}
	return fmt.Sprintf("example.org/image:%d", i)
}

// allSane waits until all servers are sane and nothing is written any more.
func allSane(t *testing.T, traffic *traffic, namespaces []string, image string) {
	t.Helper()
	eventually(t, "servers with "+image, func() error {
		errs := []error{traffic.calm()}
		for _, namespace := range namespaces {
			if err := sane(t.Context(), namespace, image); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w\n%v", namespace, err, traffic.writesOf(namespace)))
			}
		}
		return errors.Join(errs...)
	})
}

// sane returns an error unless a server has released its spec with this image, and has consistent objects and records.
func sane(ctx context.Context, namespace, image string) error {
	if err := settled(ctx, namespace); err != nil {
		return err
	}
	objects, err := created(ctx, client.InNamespace(namespace))
	if err != nil {
		return err
	}
	deployed, newest := 0, 0
	var errs []error
	for i := range objects {
		o := &objects[i]
		if len(o.GetOwnerReferences()) != 1 {
			errs = append(errs, fmt.Errorf("%s is owned by %v", nameOf(o), o.GetOwnerReferences()))
		}
		if o.GetKind() == "StatefulSet" {
			errs = append(errs, holds(o.Object, image))
		}
		if !isRecord(o) {
			continue
		}
		record, err := decode(o)
		if err != nil {
			return err
		}
		newest = max(newest, record.Version)
		switch record.Info.Status {
		case helmrelease.StatusDeployed:
			deployed = record.Version
			errs = append(errs, holds(record.Manifest, image))
		case helmrelease.StatusSuperseded, helmrelease.StatusFailed:
		default:
			errs = append(errs, fmt.Errorf("record %d is %s", record.Version, record.Info.Status))
		}
		if label := o.GetLabels()["status"]; label != record.Info.Status.String() {
			errs = append(errs, fmt.Errorf("record %d is %s, its label is %s", record.Version, record.Info.Status, label))
		}
	}
	return errors.Join(append(errs, expect("the newest record that is deployed", deployed, newest), onlyOneDeployed(objects))...)
}

// holds returns an error unless a value contains an image.
func holds(what any, image string) error {
	if text := fmt.Sprint(what); !strings.Contains(text, image) {
		return fmt.Errorf("no image %s in %s", image, text[:min(len(text), 3000)])
	}
	return nil
}

// onlyOneDeployed returns an error unless exactly one record is deployed and there are at most five.
func onlyOneDeployed(objects []unstructured.Unstructured) error {
	var deployed []string
	records := 0
	for i := range objects {
		if !isRecord(&objects[i]) {
			continue
		}
		records++
		if objects[i].GetLabels()["status"] == helmrelease.StatusDeployed.String() {
			deployed = append(deployed, objects[i].GetName())
		}
	}
	if len(deployed) != 1 || records > 5 {
		return fmt.Errorf("%d records, deployed are %v", records, deployed)
	}
	return nil
}
