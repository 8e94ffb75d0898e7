// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
)

// reason is why a request is allowed or denied.
type reason string

const (
	allowedUser      reason = "UserAllowed"
	allowedEmail     reason = "EmailAllowed"
	allowedGroup     reason = "GroupAllowed"
	anyAuthenticated reason = "AnyAuthenticated"

	noIdentity        reason = "IdentityMissing"
	duplicateIdentity reason = "IdentityDuplicated"
	malformedIdentity reason = "IdentityMalformed"
	notAllowed        reason = "NotAllowed"
	rulesInvalid      reason = "RulesInvalid"
)

// Every reason is in one of these.
var (
	allowing = []reason{allowedUser, allowedEmail, allowedGroup, anyAuthenticated}
	denying  = []reason{noIdentity, duplicateIdentity, malformedIdentity, notAllowed, rulesInvalid}
)

// decision is the result for one request.
type decision struct {
	allowed bool
	reason  reason
	id      identity // empty if the headers are invalid
}

// rules are a configuration prepared for decisions. They are immutable.
type rules struct {
	config *config
	// fault is why the file is invalid; config is then the last valid one, and all requests are denied.
	fault error

	users, emails, groups map[string]struct{}
}

func newRules(c *config) *rules {
	r := &rules{config: c, users: map[string]struct{}{}, emails: map[string]struct{}{}, groups: map[string]struct{}{}}
	for _, user := range c.Allow.Users {
		r.users[user] = struct{}{}
	}
	for _, email := range c.Allow.Emails {
		r.emails[lower(email)] = struct{}{}
	}
	for _, group := range c.Allow.Groups {
		r.groups[group] = struct{}{}
	}
	return r
}

// broken returns rules that deny all requests.
func (r *rules) broken(fault error) *rules {
	return &rules{config: r.config, fault: fault}
}

// decide returns the decision on a request with these headers.
func (r *rules) decide(header http.Header) decision {
	id, fault := readIdentity(header, r.config.Headers)
	if fault != "" {
		return decision{reason: fault}
	}
	if r.fault != nil {
		return decision{reason: rulesInvalid, id: id}
	}
	if why, found := r.match(id); found {
		return decision{allowed: true, reason: why, id: id}
	}
	return decision{reason: notAllowed, id: id}
}

func (r *rules) match(id identity) (reason, bool) {
	if _, found := r.users[id.user]; found {
		return allowedUser, true
	}
	if _, found := r.emails[lower(id.email)]; found && id.email != "" {
		return allowedEmail, true
	}
	if len(r.groups) > 0 && r.matchGroups(id.groups) {
		return allowedGroup, true
	}
	return anyAuthenticated, r.config.Allow.AnyAuthenticated
}

func (r *rules) matchGroups(groups string) bool {
	for group := range strings.SplitSeq(groups, ",") {
		if _, found := r.groups[group]; found && group != "" {
			return true
		}
	}
	return false
}

// lower only changes ASCII letters: Unicode also maps letters of other alphabets to ASCII ones.
func lower(text string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + ('a' - 'A')
		}
		return c
	}, text)
}
