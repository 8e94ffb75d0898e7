// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// withoutSession returns the value of one Cookie header with the cookies of a request, without the session cookies of this and
// other servers. It is empty if no cookie is left.
//
// Jupyter runs its user's code, which must not obtain the session. If programs may parse a header differently, the
// interpretation that removes more of it is used.
func withoutSession(lines []string) string {
	var kept strings.Builder
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if pair == "" || containsSession(pair) || strings.ContainsFunc(pair, isControl) {
				continue
			}
			if kept.Len() > 0 {
				kept.WriteString("; ")
			}
			kept.WriteString(pair)
		}
	}
	return kept.String()
}

// isControl reports whether a header value may not contain the character.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// containsSession looks for the name of a session cookie at the start of a pair, and after every character that a well-formed
// pair cannot contain: a proxy may have joined two lines with a comma, and some programs treat quotes as brackets.
func containsSession(pair string) bool {
	if isSessionName(pair) {
		return true // session cookies are long: skip the scan
	}
	if !strings.Contains(pair, "js-") {
		return false
	}
	for piece := range strings.FieldsFuncSeq(pair, isSeparator) {
		if isSessionName(strings.TrimLeft(piece, "=")) {
			return true
		}
	}
	return false
}

// isSeparator reports whether a character is not a cookie-octet of RFC 6265, section 4.1.1.
func isSeparator(c rune) bool {
	return c <= ' ' || c == '"' || c == ',' || c == '\\' || c >= 0x7f
}

// isSessionName matches ^(__Secure-|__Host-)?js-[0-9a-f]{16}. The plugin may append chunk numbers or csrf.
func isSessionName(text string) bool {
	for _, prefix := range []string{"__Secure-", "__Host-"} {
		if rest, found := strings.CutPrefix(text, prefix); found {
			text = rest
			break
		}
	}
	id, found := strings.CutPrefix(text, "js-")
	if !found || len(id) < 16 {
		return false
	}
	for _, c := range []byte(id[:16]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
