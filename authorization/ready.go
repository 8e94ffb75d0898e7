// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// checkTimeout bounds one question to one part of the pod.
	checkTimeout = time.Second
	// badHolds and goodHolds are for how long answers hold: the kubelet and the operator both ask, and each question to the
	// plugin is a line in its log.
	badHolds  = time.Second
	goodHolds = 10 * time.Second
)

// checkResult is what one part of the pod answered. Its message is one sentence for an admin.
type checkResult struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

func bad(format string, args ...any) checkResult {
	return checkResult{Message: fmt.Sprintf(format, args...)}
}

// readyReport is the answer of /readyz. The provider does not make it unready.
type readyReport struct {
	Ready    bool                   `json:"ready"`
	Checks   map[string]checkResult `json:"checks"`
	Provider finding                `json:"provider"`
}

// readiness asks whether the chain works.
type readiness struct {
	rules    func() *rules
	provider func() finding
	client   *http.Client
	now      func() time.Time

	mu      sync.Mutex // held while asking: whoever comes meanwhile waits, and gets the same answers
	asked   time.Time
	answers map[string]checkResult
}

func newReadiness(rules func() *rules, provider func() finding, now func() time.Time) *readiness {
	return &readiness{rules: rules, provider: provider, now: now, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderBytes},
		CheckRedirect: dontFollow,
	}}
}

// report says how things are, or were a moment ago.
func (r *readiness) report(ctx context.Context) readyReport {
	report := readyReport{Ready: true, Checks: map[string]checkResult{}, Provider: r.provider()}
	for name, answer := range r.chain(ctx) {
		report.Checks[name] = answer
	}
	report.Checks["rules"] = checkRules(r.rules())
	for _, answer := range report.Checks {
		report.Ready = report.Ready && answer.OK
	}
	return report
}

func checkRules(rules *rules) checkResult {
	if rules.fault != nil {
		return bad("nobody may enter until the rules are right again: %s", clean(rules.fault.Error()))
	}
	return checkResult{OK: true}
}

// chain returns the answers of the other parts of the pod.
func (r *readiness) chain(ctx context.Context) map[string]checkResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers != nil && r.now().Sub(r.asked) < holds(r.answers) {
		return r.answers
	}
	// Others wait for these answers too, so they do not end with the request of whoever came first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	chain := r.rules().config.Chain
	var proxy, authentication, jupyter checkResult
	var group sync.WaitGroup
	group.Go(func() { proxy = r.checkProxy(ctx, chain.Proxy) })
	group.Go(func() { authentication = r.checkPart(ctx, "authentication", chain.Authentication) })
	group.Go(func() { jupyter = r.checkPart(ctx, "Jupyter", chain.Jupyter) })
	group.Wait()
	r.asked = r.now()
	r.answers = map[string]checkResult{"proxy": proxy, "authentication": authentication, "jupyter": jupyter}
	return r.answers
}

func holds(answers map[string]checkResult) time.Duration {
	for _, answer := range answers {
		if !answer.OK {
			return badHolds
		}
	}
	return goodHolds
}

// checkProxy comes without a session, and must be refused.
func (r *readiness) checkProxy(ctx context.Context, t target) checkResult {
	code, err := r.get(ctx, t)
	switch {
	case err != nil:
		return silent("the proxy", t, err)
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusFound:
		return checkResult{OK: true}
	case code >= 200 && code < 300:
		return bad("the proxy lets in anybody: HTTP status %d without a session on %s", code, t.URL)
	case code == http.StatusNotFound:
		return bad("the proxy has no route for the server yet")
	default:
		return bad("the proxy answers HTTP status %d on %s", code, t.URL)
	}
}

// checkPart wants a plain yes.
func (r *readiness) checkPart(ctx context.Context, name string, t target) checkResult {
	code, err := r.get(ctx, t)
	if err != nil {
		return silent(name, t, err)
	}
	if code < 200 || code > 299 {
		return bad("%s answers HTTP status %d on %s", name, code, t.URL)
	}
	return checkResult{OK: true}
}

func silent(name string, t target, err error) checkResult {
	host := t.URL
	if u, err := url.Parse(t.URL); err == nil {
		host = u.Host
	}
	return bad("%s does not answer on %s: %s", name, host, cause(err))
}

func (r *readiness) get(ctx context.Context, t target) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return 0, err
	}
	request.Host = t.Host // empty: that of the URL
	request.Header.Set("User-Agent", userAgent())
	response, err := r.client.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
