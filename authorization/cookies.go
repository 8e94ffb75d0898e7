// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// withoutSession returns the cookies of a request without those of the session, of this server or another, ready to stand
// in one Cookie header. It is empty when none is left.
//
// Jupyter runs its user's code, which must not get hold of the session. So where programs may read a header differently,
// the reading counts by which more of it is the session's.
func withoutSession(lines []string) string {
	var kept strings.Builder
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if pair == "" || holdsSession(pair) || strings.ContainsFunc(pair, breaksHeader) {
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

// breaksHeader finds what may not stand in a header's value.
func breaksHeader(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// holdsSession looks for a session's name at the start of a pair, and after every character that a well-formed pair does
// not have: a proxy may have joined two lines with a comma, and some programs take quotes for brackets.
func holdsSession(pair string) bool {
	if beginsWithSession(pair) {
		return true // it is long: no need to look further
	}
	if !strings.Contains(pair, "js-") {
		return false
	}
	for piece := range strings.FieldsFuncSeq(pair, separates) {
		if beginsWithSession(strings.TrimLeft(piece, "=")) {
			return true
		}
	}
	return false
}

// separates finds what is no cookie-octet of RFC 6265, section 4.1.1.
func separates(c rune) bool {
	return c <= ' ' || c == '"' || c == ',' || c == '\\' || c >= 0x7f
}

// beginsWithSession matches ^(__Secure-|__Host-)?js-[0-9a-f]{16}. What follows is the plugin's: numbers of chunks, csrf.
func beginsWithSession(text string) bool {
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
