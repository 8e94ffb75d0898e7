// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// identity is who somebody is, as the plugin says.
type identity struct {
	user              string // the claim sub, never empty
	email             string // empty when the provider did not verify one
	groups            string // joined by commas
	preferredUsername string // a name for people, never compared
}

// maxName is the length of a user, an email or a name in bytes: OpenID Connect Core allows a sub of 255 characters.
// Groups are bounded by maxHeaderBytes alone.
const maxName = 1024

// readIdentity reads the identity headers. It returns a reason to deny when one of them is not as the plugin writes it.
func readIdentity(header http.Header, names headerNames) (identity, reason) {
	var who identity
	for _, field := range []struct {
		name  string
		limit int
		into  *string
	}{
		{names.User, maxName, &who.user},
		{names.Email, maxName, &who.email},
		{names.Groups, maxHeaderBytes, &who.groups},
		{names.PreferredUsername, maxName, &who.preferredUsername},
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
	if strings.Trim(who.user, " ") == "" {
		return identity{}, noIdentity
	}
	return who, ""
}

// isText says that a value is UTF-8 without control characters.
func isText(value string) bool {
	return utf8.ValidString(value) && !strings.ContainsFunc(value, unicode.IsControl)
}

// name is what to call somebody.
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
