// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// checkTimeout bounds one check of one container.
	checkTimeout = time.Second
	// failureTTL and successTTL are how long results are cached: the kubelet and the operator both probe, and each request to
	// the plugin is a line in its log.
	failureTTL = time.Second
	successTTL = 10 * time.Second
)

// checkResult is the result for one container. Its message is one sentence for an administrator.
type checkResult struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

func unhealthy(format string, args ...any) checkResult {
	return checkResult{Message: fmt.Sprintf(format, args...)}
}

// readyReport is the response of /readyz. A problem of the provider does not make the pod unready.
type readyReport struct {
	Ready    bool                   `json:"ready"`
	Checks   map[string]checkResult `json:"checks"`
	Provider finding                `json:"provider"`
}

// readiness checks whether the chain works.
type readiness struct {
	rules    func() *rules
	provider func() finding
	client   *http.Client
	now      func() time.Time

	mu      sync.Mutex // held during the checks: concurrent callers wait and get the same results
	checked time.Time
	results map[string]checkResult
}

func newReadiness(rules func() *rules, provider func() finding, now func() time.Time) *readiness {
	return &readiness{rules: rules, provider: provider, now: now, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderBytes},
		CheckRedirect: noRedirects,
	}}
}

// report returns the state of the chain, which may be cached.
func (r *readiness) report(ctx context.Context) readyReport {
	report := readyReport{Ready: true, Checks: map[string]checkResult{}, Provider: r.provider()}
	maps.Copy(report.Checks, r.chain(ctx))
	report.Checks["rules"] = checkRules(r.rules())
	for _, result := range report.Checks {
		report.Ready = report.Ready && result.OK
	}
	return report
}

func checkRules(rules *rules) checkResult {
	if rules.fault != nil {
		return unhealthy("all requests are denied until the rules are valid again: %s", clean(rules.fault.Error()))
	}
	return checkResult{OK: true}
}

// chain returns the results for the other containers of the pod.
func (r *readiness) chain(ctx context.Context) map[string]checkResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.results != nil && r.now().Sub(r.checked) < ttl(r.results) {
		return r.results
	}
	// Concurrent callers wait for these results too, so the checks do not end with the first caller's request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	chain := r.rules().config.Chain
	var proxy, authentication, jupyter checkResult
	var group sync.WaitGroup
	group.Go(func() { proxy = r.checkProxy(ctx, chain.Proxy) })
	group.Go(func() { authentication = r.checkPart(ctx, "authentication", chain.Authentication) })
	group.Go(func() { jupyter = r.checkPart(ctx, "Jupyter", chain.Jupyter) })
	group.Wait()
	r.checked = r.now()
	r.results = map[string]checkResult{"proxy": proxy, "authentication": authentication, "jupyter": jupyter}
	return r.results
}

func ttl(results map[string]checkResult) time.Duration {
	for _, result := range results {
		if !result.OK {
			return failureTTL
		}
	}
	return successTTL
}

// checkProxy sends a request without a session, which must be denied.
func (r *readiness) checkProxy(ctx context.Context, t target) checkResult {
	code, err := r.get(ctx, t)
	switch {
	case err != nil:
		return unreachable("the proxy", t, err)
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusFound:
		return checkResult{OK: true}
	case code >= 200 && code < 300:
		return unhealthy("the proxy allows requests without a session: HTTP status %d on %s", code, t.URL)
	case code == http.StatusNotFound:
		return unhealthy("the proxy has no route for the server yet")
	default:
		return unhealthy("the proxy returns HTTP status %d on %s", code, t.URL)
	}
}

// checkPart requires a 2xx.
func (r *readiness) checkPart(ctx context.Context, name string, t target) checkResult {
	code, err := r.get(ctx, t)
	if err != nil {
		return unreachable(name, t, err)
	}
	if code < 200 || code > 299 {
		return unhealthy("%s returns HTTP status %d on %s", name, code, t.URL)
	}
	return checkResult{OK: true}
}

func unreachable(name string, t target, err error) checkResult {
	host := t.URL
	if u, err := url.Parse(t.URL); err == nil {
		host = u.Host
	}
	return unhealthy("%s is not reachable on %s: %s", name, host, cause(err))
}

func (r *readiness) get(ctx context.Context, t target) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return 0, err
	}
	request.Host = t.Host // empty: the host of the URL
	request.Header.Set("User-Agent", userAgent())
	response, err := r.client.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
