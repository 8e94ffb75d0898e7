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
)

// TestTwoOperatorsAtOnce has two operators work on the same servers: a leader that was paused does not know for a moment that it is
// one no more. What they leave is as if there had been one, but for the revisions, of which there may be more.
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
		// Now and then the next comes before the last is done.
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

// hesitant lets writes of two operators come in all orders.
func hesitant(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if namespace, _ := classify(r); namespace != "" {
			time.Sleep(rand.N(20 * time.Millisecond))
		}
		return next.RoundTrip(r)
	})
}

// imageOf is the image after some upgrades of a server; the first is the default.
func imageOf(i int) string {
	if i == 0 {
		return "quay.io/jupyter/minimal-notebook:latest"
	}
	return fmt.Sprintf("example.org/image:%d", i)
}

// allSane waits until all servers are as their specs say, and nothing more is written.
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

// sane says what is wrong with a server, whose newest image is known, and with the records of its release.
func sane(ctx context.Context, namespace, image string) error {
	if err := settled(ctx, namespace); err != nil {
		return err
	}
	objects, err := made(ctx, client.InNamespace(namespace))
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

// holds says whether something names an image.
func holds(what any, image string) error {
	if text := fmt.Sprint(what); !strings.Contains(text, image) {
		return fmt.Errorf("no image %s in %s", image, text[:min(len(text), 3000)])
	}
	return nil
}

// onlyOneDeployed counts the records that are deployed, and all of them.
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
