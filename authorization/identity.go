// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// identity is the signed-in user according to the plugin.
type identity struct {
	user              string // the claim sub, never empty
	email             string // empty if the provider did not verify it
	groups            string // joined by commas
	preferredUsername string // for display, never compared
}

// maxName limits the length of a user, an email or a name in bytes: OpenID Connect Core allows a sub of 255 characters.
// Groups are limited only by maxHeaderBytes.
const maxName = 1024

// readIdentity reads the identity headers. It returns a reason to deny if one of them is duplicated, malformed or missing.
func readIdentity(header http.Header, names headerNames) (identity, reason) {
	var id identity
	for _, field := range []struct {
		name  string
		limit int
		into  *string
	}{
		{names.User, maxName, &id.user},
		{names.Email, maxName, &id.email},
		{names.Groups, maxHeaderBytes, &id.groups},
		{names.PreferredUsername, maxName, &id.preferredUsername},
	} {
		if field.name == "" {
			continue
		}
		lines := header[http.CanonicalHeaderKey(field.name)]
		if len(lines) == 0 {
			continue
		}
		if len(lines) > 1 {
			return identity{}, duplicateIdentity
		}
		if len(lines[0]) > field.limit || !isText(lines[0]) {
			return identity{}, malformedIdentity
		}
		*field.into = lines[0]
	}
	if strings.Trim(id.user, " ") == "" {
		return identity{}, noIdentity
	}
	return id, ""
}

// isText reports whether a value is UTF-8 without control characters.
func isText(value string) bool {
	return utf8.ValidString(value) && !strings.ContainsFunc(value, unicode.IsControl)
}

// name returns the best name for display.
func (i identity) name() string {
	switch {
	case i.preferredUsername != "":
		return i.preferredUsername
	case i.email != "":
		return i.email
	default:
		return i.user
	}
}
