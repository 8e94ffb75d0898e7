// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
)

// reason is why somebody may enter, or may not.
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

// decision is the answer to one request.
type decision struct {
	allowed bool
	reason  reason
	who     identity // empty when the headers are to blame
}

// rules are a configuration, made ready for deciding. They do not change.
type rules struct {
	config *config
	// fault says why the file cannot be used; config is then the last one that could be. Nobody may enter.
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

// broken are rules that deny everybody.
func (r *rules) broken(fault error) *rules {
	return &rules{config: r.config, fault: fault}
}

// decide says whether the headers are those of somebody who may enter.
func (r *rules) decide(header http.Header) decision {
	who, fault := readIdentity(header, r.config.Headers)
	if fault != "" {
		return decision{reason: fault}
	}
	if r.fault != nil {
		return decision{reason: rulesInvalid, who: who}
	}
	if why, found := r.match(who); found {
		return decision{allowed: true, reason: why, who: who}
	}
	return decision{reason: notAllowed, who: who}
}

func (r *rules) match(who identity) (reason, bool) {
	if _, found := r.users[who.user]; found {
		return allowedUser, true
	}
	if _, found := r.emails[lower(who.email)]; found && who.email != "" {
		return allowedEmail, true
	}
	if len(r.groups) > 0 && r.matchGroups(who.groups) {
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

// lower turns ASCII letters alone: in Unicode, letters of other alphabets become the same as ASCII ones.
func lower(text string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + ('a' - 'A')
		}
		return c
	}, text)
}
