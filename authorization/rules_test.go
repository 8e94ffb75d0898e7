// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// headers returns a header from names and values.
func headers(pairs ...string) http.Header {
	header := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		header.Add(pairs[i], pairs[i+1])
	}
	return header
}

const (
	userHeader   = "X-Auth-Request-User"
	emailHeader  = "X-Auth-Request-Email"
	groupsHeader = "X-Auth-Request-Groups"
	nameHeader   = "X-Auth-Request-Preferred-Username"
)

func TestDecide(t *testing.T) {
	anyUser := func(c *config) { c.Allow = allow{AnyAuthenticated: true} }
	noEntries := func(c *config) { c.Allow = allow{} }
	commas := func(c *config) { c.Allow = allow{Groups: []string{"c,d"}} }
	for name, test := range map[string]struct {
		reason string
		change func(*config)
		header http.Header
		want   reason
	}{
		"user":               {"The sub is listed.", nil, headers(userHeader, "u-1"), allowedUser},
		"other user":         {"The sub is not listed.", nil, headers(userHeader, "u-2"), notAllowed},
		"user in other case": {"A sub is compared exactly.", nil, headers(userHeader, "U-1"), notAllowed},
		"start of a user":    {"A prefix of a listed user does not match.", nil, headers(userHeader, "u-"), notAllowed},
		"user and more":      {"Users are not split at commas.", nil, headers(userHeader, "u-1,u-2"), notAllowed},
		"user as name":       {"Users can choose a preferred username, so it is never compared.", nil, headers(userHeader, "x", nameHeader, "u-1"), notAllowed},
		"user as email":      {"Users are not compared with emails.", nil, headers(userHeader, "x", emailHeader, "u-1"), notAllowed},
		"email as user":      {"Emails are not compared with users.", nil, headers(userHeader, "Bob@Example.org"), notAllowed},
		"email as group":     {"Groups are not compared with emails.", nil, headers(userHeader, "x", groupsHeader, "Bob@Example.org"), notAllowed},
		"email":              {"The email is listed.", nil, headers(userHeader, "x", emailHeader, "Bob@Example.org"), allowedEmail},
		"email in other case": {
			"Emails are compared case-insensitively.", nil, headers(userHeader, "x", emailHeader, "bOB@eXAMPLE.ORG"), allowedEmail},
		"email with a Kelvin sign": {
			"Unicode folds it to k, but it is the address of another person.",
			func(c *config) { c.Allow = allow{Emails: []string{"kim@example.org"}} },
			headers(userHeader, "x", emailHeader, "\u212aim@example.org"), notAllowed},
		"email without user":      {"The plugin never sends an email without a user.", nil, headers(emailHeader, "Bob@Example.org"), noIdentity},
		"no email":                {"An empty email matches no entry.", nil, headers(userHeader, "x", emailHeader, ""), notAllowed},
		"group":                   {"One listed group is enough.", nil, headers(userHeader, "x", groupsHeader, "staff"), allowedGroup},
		"group among others":      {"The position of the group does not matter.", nil, headers(userHeader, "x", groupsHeader, "a,staff,b"), allowedGroup},
		"group with spaces":       {"Spaces are part of the name.", nil, headers(userHeader, "x", groupsHeader, "a, staff,b"), notAllowed},
		"group in other case":     {"A group is compared exactly.", nil, headers(userHeader, "x", groupsHeader, "Staff"), notAllowed},
		"part of a group":         {"A group matches as a whole.", nil, headers(userHeader, "x", groupsHeader, "staffing,my staff"), notAllowed},
		"empty groups":            {"Empty names are not groups.", nil, headers(userHeader, "x", groupsHeader, ",, ,"), notAllowed},
		"group with a comma":      {"It cannot be distinguished from two groups.", commas, headers(userHeader, "x", groupsHeader, "c,d"), notAllowed},
		"half of such a group":    {"Its halves are other groups.", commas, headers(userHeader, "x", groupsHeader, "c"), notAllowed},
		"any user":                {"Every signed-in user is allowed.", anyUser, headers(userHeader, "x"), anyAuthenticated},
		"any user, not signed in": {"Requests without an identity are denied.", anyUser, headers(), noIdentity},
		"no entries":              {"Without entries no one is allowed.", noEntries, headers(userHeader, "u-1", emailHeader, "a@b", groupsHeader, "g"), notAllowed},

		"nothing":       {"A request without headers has no identity.", nil, headers(), noIdentity},
		"empty user":    {"An empty user is not an identity.", anyUser, headers(userHeader, ""), noIdentity},
		"spaces":        {"Blanks are not an identity.", anyUser, headers(userHeader, "  "), noIdentity},
		"two users":     {"A second header may be injected.", nil, headers(userHeader, "u-1", userHeader, "u-1"), duplicateIdentity},
		"two emails":    {"All four headers are checked.", nil, headers(userHeader, "u-1", emailHeader, "a@b", emailHeader, "c@d"), duplicateIdentity},
		"two groups":    {"Groups are sent in one line.", nil, headers(userHeader, "u-1", groupsHeader, "a", groupsHeader, "staff"), duplicateIdentity},
		"two names":     {"Even the name, which is not compared, is checked.", nil, headers(userHeader, "u-1", nameHeader, "a", nameHeader, ""), duplicateIdentity},
		"underscores":   {"A header with underscores is a different header.", nil, http.Header{"X_auth_request_user": {"u-1"}}, noIdentity},
		"tab":           {"Plugins send no control characters.", anyUser, headers(userHeader, "u\t1"), malformedIdentity},
		"line's end":    {"Plugins send no line breaks.", anyUser, headers(userHeader, "u-1", nameHeader, "a\r\nb"), malformedIdentity},
		"NUL":           {"Plugins send no NUL.", anyUser, headers(userHeader, "u-1\x00"), malformedIdentity},
		"C1 control":    {"Unicode has control characters too.", anyUser, headers(userHeader, "u-1", groupsHeader, "a\u0085"), malformedIdentity},
		"not UTF-8":     {"Invalid UTF-8 is rejected.", anyUser, headers(userHeader, "u-1", emailHeader, "\xff@b"), malformedIdentity},
		"umlaut":        {"Users need not be ASCII.", anyUser, headers(userHeader, "jürgen"), anyAuthenticated},
		"long user":     {"The length is limited.", anyUser, headers(userHeader, strings.Repeat("u", maxName+1)), malformedIdentity},
		"longest user":  {"OpenID Connect allows 255.", anyUser, headers(userHeader, strings.Repeat("u", maxName)), anyAuthenticated},
		"long name":     {"The length of a name is limited too.", anyUser, headers(userHeader, "u", nameHeader, strings.Repeat("u", maxName+1)), malformedIdentity},
		"many groups":   {"Users may be in hundreds of groups.", nil, headers(userHeader, "x", groupsHeader, strings.Repeat("some-group,", 3000)+"staff"), allowedGroup},
		"endless group": {"The length of groups is limited.", nil, headers(userHeader, "u-1", groupsHeader, strings.Repeat("g", maxHeaderBytes+1)), malformedIdentity},
		"other headers of a profile": {
			"Header names come from the configuration and are case-insensitive.",
			func(c *config) { c.Headers = headerNames{User: "remote-USER"} }, headers("Remote-User", "u-1"), allowedUser},
		"the usual headers with another profile": {
			"Other headers are ignored.",
			func(c *config) { c.Headers = headerNames{User: "Remote-User"} },
			headers("Remote-User", "x", userHeader, "u-1", emailHeader, "Bob@Example.org", groupsHeader, "staff"), notAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = func(*config) {}
			}
			got := newRules(testConfig(change)).decide(test.header)
			if got.reason != test.want || got.allowed != slices.Contains(allowing, test.want) {
				t.Fatalf("%s\ngot  %s (allowed: %t)\nwant %s", test.reason, got.reason, got.allowed, test.want)
			}
		})
	}
}

func TestDecideWithBrokenRules(t *testing.T) {
	broken := newRules(testConfig(func(c *config) { c.Allow.AnyAuthenticated = true })).broken(http.ErrNoCookie)
	for _, header := range []http.Header{headers(userHeader, "u-1"), headers(userHeader, "x", groupsHeader, "staff")} {
		if got := broken.decide(header); got.allowed || got.reason != rulesInvalid {
			t.Errorf("%v: %+v", header, got)
		}
	}
	if got := broken.decide(headers()); got.allowed || got.reason != noIdentity {
		t.Errorf("without an identity: %+v", got)
	}
}

// FuzzIdentity parses header lines with net/http and compares the decision with that of referenceDecide.
func FuzzIdentity(f *testing.F) {
	for _, seed := range []string{
		"X-Auth-Request-User: u\r\n",
		"X-Auth-Request-User: v\r\nX-Auth-Request-Email: bOb@x.ORG\r\nX-Auth-Request-Groups: a,b , g\r\n",
		"x-auth-request-user: u\r\nX-AUTH-REQUEST-USER: u\r\n",
		"X_Auth_Request_User: u\r\n",
		"X-Auth-Request-User:\r\nX-Auth-Request-Groups: g\r\n",
		"X-Auth-Request-User: v\r\nX-Auth-Request-Groups: h,\r\n i\r\n",
		"X-Auth-Request-User: v\r\nX-Auth-Request-Email: \u212a@x\r\n",
		"X-Auth-Request-User: v\r\nX-Auth-Request-Email: k@x\r\nX-Auth-Request-Preferred-Username: u\r\n",
		"X-Auth-Request-User: v\xff\x85\r\nX-Auth-Request-Groups:\tg\r\n",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	list := allow{Users: []string{"u", "w x"}, Emails: []string{"Bob@x.org", "k@x"}, Groups: []string{"g", "h,i", "j k"}}
	f.Fuzz(func(t *testing.T, lines string, anyUser bool) {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n")))
		if err != nil {
			return
		}
		c := testConfig(func(c *config) { c.Allow = list; c.Allow.AnyAuthenticated = anyUser })
		got := newRules(c).decide(request.Header)
		if want := referenceDecide(request.Header, c.Allow); got.allowed != want {
			t.Fatalf("allowed: %t, reason %s, want %t: %q", got.allowed, got.reason, want, request.Header)
		}
		if got.allowed != slices.Contains(allowing, got.reason) || got.allowed == slices.Contains(denying, got.reason) {
			t.Fatalf("allowed: %t, but the reason is %q", got.allowed, got.reason)
		}
		if got.allowed && got.id.user == "" {
			t.Fatal("allowed without a user")
		}
	})
}

// referenceDecide implements the documentation independently of the code.
func referenceDecide(header http.Header, list allow) bool {
	values := map[string]string{}
	for key, lines := range header {
		for _, name := range []string{userHeader, emailHeader, groupsHeader, nameHeader} {
			if !strings.EqualFold(key, name) {
				continue
			}
			if len(lines) != 1 || len(lines[0]) > 1024 && name != groupsHeader || strings.ToValidUTF8(lines[0], "") != lines[0] {
				return false
			}
			for _, c := range lines[0] {
				if c < 32 || c >= 127 && c < 160 {
					return false
				}
			}
			values[name] = lines[0]
		}
	}
	if strings.ReplaceAll(values[userHeader], " ", "") == "" {
		return false
	}
	if list.AnyAuthenticated {
		return true
	}
	if slices.Contains(list.Users, values[userHeader]) {
		return true
	}
	for _, email := range list.Emails {
		if equalFoldASCII(email, values[emailHeader]) {
			return true
		}
	}
	for _, group := range list.Groups {
		for has := range strings.SplitSeq(values[groupsHeader], ",") {
			for strings.HasPrefix(has, " ") {
				has = has[1:]
			}
			for strings.HasSuffix(has, " ") {
				has = has[:len(has)-1]
			}
			if has == group {
				return true
			}
		}
	}
	return false
}

func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		isLetter := x|32 >= 'a' && x|32 <= 'z'
		if x != y && (!isLetter || x|32 != y|32) {
			return false
		}
	}
	return true
}
