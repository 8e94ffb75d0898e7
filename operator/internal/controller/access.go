// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

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
	// opsPort is where the authorization service in the pod tells how the access control is (postrender/templates/pod.yaml).
	opsPort = "3001"
	// accessTimeout is how long it may take: somebody else's pod must not hold up the operator.
	accessTimeout = 2 * time.Second
	// accessLimit is the most bytes of its answer.
	accessLimit = 64 << 10

	// A server that works is asked again after lookAtAccess: nothing of Kubernetes tells that a provider is down. One whose
	// provider is in trouble, or that has just missed to answer, is asked again after lookAtTrouble. One that is ready and has
	// missed to answer often is behind a network that does not let us through: waiting for many of these would hold up the
	// others.
	lookAtAccess  = time.Minute
	lookAtTrouble = 20 * time.Second
	lookAtSilence = 10 * time.Minute
	oftenMissed   = 3
)

// lastAccess is what the access control of a server said last, and how often it has not answered since.
type lastAccess struct {
	said   *diagnosis.Access // nil: nothing yet
	missed int
}

// after takes an answer, or that there was none: an answer that is missed changes nothing.
func (l lastAccess) after(answer *diagnosis.Access) lastAccess {
	if answer != nil {
		return lastAccess{said: answer}
	}
	return lastAccess{l.said, l.missed + 1}
}

// nextLook is when to ask the access control of a server that is ready again. Not all at once: a provider has many servers.
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

// NewAccessClient returns the client that asks pods. It goes to the pod that it is told and nowhere else.
func NewAccessClient() *http.Client {
	return &http.Client{
		Timeout: accessTimeout,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext,
			Proxy:                  nil, // none of the environment
			MaxResponseHeaderBytes: accessLimit,
			MaxIdleConnsPerHost:    -1, // a connection to each pod of a cluster would be many
			DisableKeepAlives:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// askAccess asks the access control of a running pod how it is. No answer is nil: the pod may just be starting, or a
// NetworkPolicy keeps us out.
func (r *Reconciler) askAccess(ctx context.Context, server *v1alpha1.JupyterServer, pod *corev1.Pod) *diagnosis.Access {
	if server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC || pod == nil || pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	access, err := r.readAccess(ctx, "http://"+net.JoinHostPort(pod.Status.PodIP, opsPort)+"/readyz")
	if err != nil {
		return nil
	}
	return access
}

func (r *Reconciler) readAccess(ctx context.Context, address string) (*diagnosis.Access, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := r.Access.Do(request)
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
