// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
)

// The times of the lease. Servers keep running without a leader, so a pause of the API server for some seconds should not cost
// the lease and, with it, everything that the informers hold.
const (
	// leaseDuration is how long the others wait for a leader that stopped renewing: it was killed, or is cut off.
	leaseDuration = 15 * time.Second
	// renewDeadline is when a leader that cannot renew exits. The rest of leaseDuration lets its last requests finish.
	renewDeadline = 10 * time.Second
	// retryPeriod is how often the leader renews. The others retry every 2 to 4.4 s (JitterFactor of client-go): a handover takes that long.
	retryPeriod = 2 * time.Second
)

// lease is the Lease by which the replicas of one operator elect a leader. It is nil without leader election.
type lease struct{ resourcelock.LeaseLock }

// newLease gives the lease a client with its own limits, so that a busy leader can always renew and a hanging request is
// canceled early enough for another attempt.
func newLease(restConfig *rest.Config, o runOptions) (*lease, error) {
	if !o.leaderElection {
		return nil, nil //nolint:nilnil // leader election is off
	}
	if o.leaderElectionNS == "" {
		return nil, errors.New("--leader-elect needs --leader-election-namespace")
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading the host name: %w", err)
	}
	restConfig = rest.AddUserAgent(rest.CopyConfig(restConfig), "leader-election")
	restConfig.Timeout = renewDeadline / 2
	client, err := coordinationv1client.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	return &lease{resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.leaderElectionNS, Name: leaseName(o)},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}}, nil
}

// leaseName returns different names for operators that reconcile different servers from one namespace.
func leaseName(o runOptions) string {
	if o.leaderElectionID != "" {
		return o.leaderElectionID
	}
	if o.shardSelector == "" && len(o.namespaces) == 0 {
		return operatorName
	}
	sum := sha256.Sum256([]byte(o.shardSelector + "\n" + strings.Join(slices.Sorted(slices.Values(o.namespaces)), ",")))
	return operatorName + "-" + hex.EncodeToString(sum[:4])
}

// applyTo makes the manager do its work only while it holds the lease.
func (l *lease) applyTo(options *ctrl.Options) {
	if l == nil {
		return
	}
	options.LeaderElection = true
	options.LeaderElectionResourceLockInterface = l
	options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = new(leaseDuration), new(renewDeadline), new(retryPeriod)
}

// release lets the next replica lead immediately. Call it only after the manager stopped cleanly, when no work is running.
// LeaderElectionReleaseOnCancel would also release the lease of a leader that cannot renew but still works, and even that of
// its successor (k8s.io/client-go v0.37.2, tools/leaderelection/leaderelection.go, renew and tryRelease).
func (l *lease) release(ctx context.Context) error {
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewDeadline/2)
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { // our last renewal may still be in flight
		record, _, err := l.Get(ctx)
		if err != nil || record.HolderIdentity != l.Identity() {
			return err
		}
		now := metav1.Now()
		return l.Update(ctx, resourcelock.LeaderElectionRecord{
			LeaseDurationSeconds: 1, LeaderTransitions: record.LeaderTransitions, AcquireTime: now, RenewTime: now,
		})
	})
	if err != nil {
		return fmt.Errorf("releasing the lease: %w", err)
	}
	return nil
}
