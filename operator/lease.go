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
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// The times of the lease. Servers run on while nobody leads. So it is not worth losing the lease, and with it all that the informers
// hold, whenever the API server pauses for some seconds.
const (
	// leaseDuration is how long the others wait for a leader that renews no more: one that was killed, or is cut off.
	leaseDuration = 15 * time.Second
	// renewDeadline is when a leader that cannot renew ends. What is left of leaseDuration is for its last requests to come to an end.
	renewDeadline = 10 * time.Second
	// retryPeriod is how often the leader renews. The others ask every 2 to 4.4 s (JitterFactor of client-go): so long a hand-over takes.
	retryPeriod = 2 * time.Second
)

// lease is what the replicas of one operator elect a leader by. Nil: there is no election.
type lease struct{ resourcelock.LeaseLock }

// newLease gives the lease a client with limits of its own, so that a busy leader can always renew, and gives up a request that
// hangs early enough to try another one.
func newLease(restConfig *rest.Config, o runOptions) (*lease, error) {
	if !o.leaderElection {
		return nil, nil //nolint:nilnil // there is no election
	}
	if o.leaderElectionNS == "" {
		return nil, errors.New("--leader-elect needs --leader-election-namespace")
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading the name of the host: %w", err)
	}
	restConfig = rest.AddUserAgent(rest.CopyConfig(restConfig), "leader-election")
	restConfig.Timeout = renewDeadline / 2
	client, err := coordinationv1client.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &lease{resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.leaderElectionNS, Name: leaseName(o)},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}}, nil
}

// leaseName keeps apart operators that work on different servers from one namespace.
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

// elect has a manager work only as the holder of the lease.
func (l *lease) elect(options *ctrl.Options) {
	if l == nil {
		return
	}
	options.LeaderElection = true
	options.LeaderElectionResourceLockInterface = l
	options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = ptr.To(leaseDuration), ptr.To(renewDeadline), ptr.To(retryPeriod)
}

// giveUp lets the next one lead at once. It is for a process whose manager ended in good order, so that nothing is under way.
// LeaderElectionReleaseOnCancel would also give up the lease of a leader that cannot renew and works on, and even that of its
// successor (k8s.io/client-go v0.37.2, tools/leaderelection/leaderelection.go, renew and tryRelease).
func (l *lease) giveUp(ctx context.Context) error {
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewDeadline/2)
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { // our last renewal may be under way
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
		return fmt.Errorf("giving up the lease: %w", err)
	}
	return nil
}
