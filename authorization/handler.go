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

// handler serves the proxy. At / it decides on the request that the headers describe. Because the proxy takes any 2xx as
// allowed, the only other path with a 2xx is the signed-out page, which the proxy never asks for a decision.
type handler struct {
	rules     func() *rules
	decisions *decisionLog
	metrics   *metrics
	logger    *slog.Logger
	pages     *pages
	now       func() time.Time
	// signedIn becomes true with the first identity from the plugin.
	signedIn *atomic.Bool
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/":
		h.serveDecision(w, r)
	case strings.HasSuffix(r.URL.Path, "/signed-out"):
		h.serveSignedOut(w, r)
	default:
		writeError(w, http.StatusNotFound, "not found", "NotFound")
	}
}

func (h *handler) serveDecision(w http.ResponseWriter, r *http.Request) {
	start := h.now()
	rules := h.rules()
	d := rules.decide(r.Header)
	if d.id.user != "" && !h.signedIn.Load() {
		h.signedIn.Store(true)
	}
	if d.allowed {
		// No identity headers: the proxy deletes those that the response does not have.
		if cookies := withoutSession(r.Header["Cookie"]); cookies != "" {
			w.Header().Set("Cookie", cookies)
		}
		w.WriteHeader(http.StatusOK)
	} else {
		h.deny(w, r, rules.config, d)
	}
	end := h.now()
	h.metrics.decided(d.reason, end.Sub(start))
	h.decisions.record(r.Context(), d, r.Header.Get("X-Forwarded-Method"), forwardedPath(r.Header), end)
}

// deny responds with a page to the navigation of a signed-in user, and with JSON to everything else.
func (h *handler) deny(w http.ResponseWriter, r *http.Request, c *config, d decision) {
	if d.id.user != "" && isNavigation(r.Header, c.Home) {
		err := h.pages.write(w, http.StatusForbidden, h.pages.denied, map[string]any{
			"Server":            c.Server,
			"SignOut":           c.SignOut,
			"User":              d.id.user,
			"Email":             d.id.email,
			"PreferredUsername": d.id.preferredUsername,
			"RulesInvalid":      d.reason == rulesInvalid,
		})
		if err == nil {
			return
		}
		h.logger.Error("rendering the page failed", "error", err)
	}
	writeError(w, http.StatusForbidden, denialMessage(c.Server, d), string(d.reason))
}

// denialMessage is the reason of a denial for the user of a program.
func denialMessage(server string, d decision) string {
	switch d.reason {
	case notAllowed:
		return fmt.Sprintf("%s has no access to the server %s: ask its owner for access", d.id.name(), server)
	case rulesInvalid:
		return fmt.Sprintf("the server %s denies all requests because its access rules are invalid: contact its owner", server)
	default:
		return "the request has no valid identity"
	}
}

func writeError(w http.ResponseWriter, code int, message, reason string) {
	harden(w.Header())
	writeJSON(w, code, map[string]string{"message": message, "reason": reason})
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, numbers and booleans can always be encoded
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(raw, '\n')) // fails if the client is gone
}

func (h *handler) serveSignedOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, "use GET or HEAD", "MethodNotAllowed")
		return
	}
	c := h.rules().config
	err := h.pages.write(w, http.StatusOK, h.pages.signedOut, map[string]any{
		"Server": c.Server,
		"Home":   c.Home,
		"Issuer": c.Provider.Issuer,
	})
	if err != nil {
		h.logger.Error("rendering the page failed", "error", err)
		writeError(w, http.StatusInternalServerError, "rendering the page failed", "InternalError")
	}
}
