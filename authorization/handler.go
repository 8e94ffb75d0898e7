// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// handler answers the proxy. At / it decides about the request that the headers describe: any 2xx would let it pass, so
// there is no other path with one but the page for who has signed out, which is no decision.
type handler struct {
	rules     func() *rules
	decisions *decisionLog
	metrics   *metrics
	logger    *slog.Logger
	pages     *pages
	now       func() time.Time
	// signedIn becomes true with the first person that the plugin sends.
	signedIn *atomic.Bool
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/":
		h.serveDecision(w, r)
	case strings.HasSuffix(r.URL.Path, "/signed-out"):
		h.serveSignedOut(w, r)
	default:
		refuse(w, http.StatusNotFound, "there is nothing here", "NotFound")
	}
}

func (h *handler) serveDecision(w http.ResponseWriter, r *http.Request) {
	start := h.now()
	rules := h.rules()
	d := rules.decide(r.Header)
	if d.who.user != "" && !h.signedIn.Load() {
		h.signedIn.Store(true)
	}
	if d.allowed {
		// No identity headers: the proxy deletes those that the answer does not have.
		if cookies := withoutSession(r.Header["Cookie"]); cookies != "" {
			w.Header().Set("Cookie", cookies)
		}
		w.WriteHeader(http.StatusOK)
	} else {
		h.deny(w, r, rules.config, d)
	}
	end := h.now()
	h.metrics.decided(d.reason, end.Sub(start))
	h.decisions.record(d, r.Header.Get("X-Forwarded-Method"), forwardedPath(r.Header), end)
}

// deny answers with a page for somebody who is signed in and looks at it, and with JSON for everything else.
func (h *handler) deny(w http.ResponseWriter, r *http.Request, c *config, d decision) {
	if d.who.user != "" && isNavigation(r.Header, c.Home) {
		err := h.pages.write(w, http.StatusForbidden, h.pages.refused, map[string]any{
			"Server":            c.Server,
			"SignOut":           c.SignOut,
			"User":              d.who.user,
			"Email":             d.who.email,
			"PreferredUsername": d.who.preferredUsername,
			"RulesInvalid":      d.reason == rulesInvalid,
		})
		if err == nil {
			return
		}
		h.logger.Error("the page cannot be made", "error", err)
	}
	refuse(w, http.StatusForbidden, sentence(c.Server, d), string(d.reason))
}

// sentence says to a program's user why it is refused.
func sentence(server string, d decision) string {
	switch d.reason {
	case notAllowed:
		return fmt.Sprintf("%s may not enter the server %s: ask whoever runs it", d.who.name(), server)
	case rulesInvalid:
		return fmt.Sprintf("nobody may enter the server %s at the moment: its rules cannot be read; tell whoever runs it", server)
	default:
		return "the request does not say who makes it"
	}
}

func refuse(w http.ResponseWriter, code int, message, reason string) {
	harden(w.Header())
	writeJSON(w, code, map[string]string{"message": message, "reason": reason})
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, numbers and booleans can be written
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(raw, '\n')) // whoever asked has gone
}

func (h *handler) serveSignedOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this page can only be read", "MethodNotAllowed")
		return
	}
	c := h.rules().config
	err := h.pages.write(w, http.StatusOK, h.pages.signedOut, map[string]any{
		"Server": c.Server,
		"Home":   c.Home,
		"Issuer": c.Provider.Issuer,
	})
	if err != nil {
		h.logger.Error("the page cannot be made", "error", err)
		refuse(w, http.StatusInternalServerError, "the page cannot be made", "InternalError")
	}
}
