// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
)

const (
	// opsPort is where the authorization service in the pod reports on the access control (postrender/templates/pod.yaml).
	opsPort = "3001"
	// accessTimeout is how long an answer may take: a pod must not hold up the operator.
	accessTimeout = 2 * time.Second
	// accessLimit is the most bytes of an answer.
	accessLimit = 64 << 10

	// A server that works is asked again after lookAtAccess, because no event tells that a provider is down. One whose provider
	// is in trouble, or that missed an answer, is asked again after lookAtTrouble. One that is ready and missed several is
	// behind a network that blocks the operator: waiting for many of these would hold up the others.
	lookAtAccess  = time.Minute
	lookAtTrouble = 20 * time.Second
	lookAtSilence = 10 * time.Minute
	oftenMissed   = 3
)

// lastAccess is the last answer of a server's access control, and how many it has missed since.
type lastAccess struct {
	said   *diagnosis.Access // nil: nothing yet
	missed int
}

// after returns the state after an answer, or after a missed one, which changes nothing.
func (l lastAccess) after(answer *diagnosis.Access) lastAccess {
	if answer != nil {
		return lastAccess{said: answer}
	}
	return lastAccess{l.said, l.missed + 1}
}

// nextLook returns when to ask the access control of a ready server again, with jitter because a provider has many servers.
func (l lastAccess) nextLook() time.Duration {
	next := lookAtAccess
	switch {
	case l.missed >= oftenMissed:
		next = lookAtSilence
	case l.missed > 0 || !l.said.Provider.OK:
		next = lookAtTrouble
	}
	return wait.Jitter(next, 0.2)
}

// NewAccessClient returns the client that asks pods. It follows no redirect and uses no proxy.
func NewAccessClient() *http.Client {
	return &http.Client{
		Timeout: accessTimeout,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext,
			Proxy:                  nil, // not that of the environment
			MaxResponseHeaderBytes: accessLimit,
			MaxIdleConnsPerHost:    -1, // one connection for each pod of a cluster would be too many
			DisableKeepAlives:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// askAccess asks the access control of a running pod how it is. It returns nil without an answer: the pod may be starting, or a
// NetworkPolicy blocks the operator.
func (g *Gatherer) askAccess(ctx context.Context, server *v1alpha1.JupyterServer, pod *corev1.Pod) *diagnosis.Access {
	if server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC || pod == nil || pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	access, err := g.readAccess(ctx, "http://"+net.JoinHostPort(pod.Status.PodIP, opsPort)+"/readyz")
	if err != nil {
		return nil
	}
	return access
}

func (g *Gatherer) readAccess(ctx context.Context, address string) (*diagnosis.Access, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := g.Access.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable {
		return nil, fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	access := &diagnosis.Access{}
	err = json.NewDecoder(io.LimitReader(response.Body, accessLimit)).Decode(access)
	return access, err
}
