// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// fault is one way in which a write fails.
type fault struct {
	name string
	// strike replaces the write.
	strike func(next http.RoundTripper, r *http.Request) (*http.Response, error)
	// lasts is true if the operator does nothing more for the namespace until it is restarted.
	lasts bool
	// dies is true if no later request gets through.
	dies bool
	// common is true if the fault is injected in all lives, not only in the first.
	common bool
}

// faults are all faults. A request that fails before the API server has handled it and one that fails afterwards look the same to
// the operator, but leave different states.
var faults = []fault{
	{name: "fails", strike: func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
		return reject(r, apierrors.NewInternalError(errors.New("etcdserver: leader changed")))
	}},
	{name: "conflicts", common: true, strike: func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
		resource, name := schema.GroupResource{Resource: "things"}, "thing"
		if r.Method == http.MethodPost {
			return reject(r, apierrors.NewAlreadyExists(resource, name))
		}
		return reject(r, apierrors.NewConflict(resource, name, errors.New("the object has been modified")))
	}},
	{name: "times out", common: true, strike: func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if err := finish(next, r); err != nil {
			return nil, err
		}
		return nil, lostError{}
	}},
	{name: "is cancelled", strike: func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Millisecond) // before, during or after its handling
		defer cancel()
		if response, err := next.RoundTrip(r.WithContext(ctx)); err == nil {
			_ = response.Body.Close()
		}
		return nil, context.Canceled
	}},
	{name: "hangs until the operator stops", lasts: true, strike: func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
		return hang(r)
	}},
	{name: "is the last before the operator dies", common: true, lasts: true, dies: true, strike: func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if err := finish(next, r); err != nil {
			return nil, err
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	}},
}

// lostError is the error of a request without a response.
type lostError struct{}

func (lostError) Error() string   { return "net/http: timeout awaiting response headers" }
func (lostError) Timeout() bool   { return true }
func (lostError) Temporary() bool { return true }

// reject responds in place of the API server.
func reject(r *http.Request, why *apierrors.StatusError) (*http.Response, error) {
	drop(r)
	status := why.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	body, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: int(status.Code), Status: http.StatusText(int(status.Code)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

// finish makes the API server handle a request even if its client is gone.
func finish(next http.RoundTripper, r *http.Request) error {
	response, err := next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return err
}

// hang blocks without reaching the API server until the operator stops.
func hang(r *http.Request) (*http.Response, error) {
	drop(r)
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func drop(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// traffic records the requests of all operators, and injects faults, by namespace.
type traffic struct {
	mu         sync.Mutex
	namespaces map[string]*lane
}

type lane struct {
	writes []string
	last   time.Time
	plan   *plan
}

// plan makes the n-th write from now on fail.
type plan struct {
	fault  fault
	n      int
	writes int
	struck bool
}

func newTraffic() *traffic { return &traffic{namespaces: map[string]*lane{}} }

// over returns a transport that records the writes of an operator and injects the planned faults.
func (t *traffic) over(next http.RoundTripper) http.RoundTripper {
	return apiservertest.RoundTripper(func(r *http.Request) (*http.Response, error) {
		namespace, isWrite := classify(r)
		if namespace == "" {
			return next.RoundTrip(r)
		}
		switch strike, dead := t.pass(namespace, isWrite, r); {
		case dead:
			return hang(r)
		case strike != nil:
			return strike(next, r)
		}
		return next.RoundTrip(r)
	})
}

// pass records a request. It returns the fault that replaces it, if any, and reports whether the operator is dead.
func (t *traffic) pass(namespace string, isWrite bool, r *http.Request) (strike func(http.RoundTripper, *http.Request) (*http.Response, error), dead bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lane(namespace)
	p := l.plan
	if p != nil && p.struck && p.fault.dies {
		return nil, true
	}
	if !isWrite {
		return nil, false
	}
	l.writes = append(l.writes, summary(r))
	l.last = time.Now()
	if p == nil || p.struck {
		return nil, false
	}
	if p.writes++; p.writes < p.n {
		return nil, false
	}
	p.struck = true
	return p.fault.strike, false
}

// lane must be called with the lock held.
func (t *traffic) lane(namespace string) *lane {
	l := t.namespaces[namespace]
	if l == nil {
		l = &lane{}
		t.namespaces[namespace] = l
	}
	return l
}

// arm makes the n-th write from now on fail.
func (t *traffic) arm(namespace string, f fault, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lane(namespace).plan = &plan{fault: f, n: n}
}

// disarm drops all plans.
func (t *traffic) disarm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.namespaces {
		l.plan = nil
	}
}

// struck reports whether the planned fault of a namespace was injected.
func (t *traffic) struck(namespace string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.lane(namespace).plan
	return p != nil && p.struck
}

// writesOf returns the writes in a namespace so far.
func (t *traffic) writesOf(namespace string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string{}, t.lane(namespace).writes...)
}

// calm returns an error unless nothing was written in any namespace for calmTime.
func (t *traffic) calm() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for namespace, l := range t.namespaces {
		if since := time.Since(l.last); since < calmTime {
			return fmt.Errorf("the last of %d writes in %s was made %v ago", len(l.writes), namespace, since)
		}
	}
	return nil
}

// calmTime is the time without writes after which the operators count as idle.
const calmTime = 600 * time.Millisecond

// classify returns the namespace of a request that counts, and whether it is a write. Events do not count: nothing depends on them.
func classify(r *http.Request) (namespace string, isWrite bool) {
	_, rest, found := strings.Cut(r.URL.Path, "/namespaces/")
	if !found {
		return "", false
	}
	namespace, rest, found = strings.Cut(rest, "/")
	if !found || strings.HasPrefix(rest, "events") {
		return "", false
	}
	return namespace, r.Method != http.MethodGet
}

// summary returns a write in one line: PATCH statefulsets/alice (dry run).
func summary(r *http.Request) string {
	_, rest, _ := strings.Cut(r.URL.Path, "/namespaces/")
	_, rest, _ = strings.Cut(rest, "/")
	if r.URL.Query().Has("dryRun") {
		rest += " (dry run)"
	}
	return r.Method + " " + rest
}
