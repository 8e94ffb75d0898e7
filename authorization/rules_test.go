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

// headers makes a header of names and values.
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
	anybody := func(c *config) { c.Allow = allow{AnyAuthenticated: true} }
	nobody := func(c *config) { c.Allow = allow{} }
	commas := func(c *config) { c.Allow = allow{Groups: []string{"c,d"}} }
	for name, test := range map[string]struct {
		reason string
		change func(*config)
		header http.Header
		want   reason
	}{
		"user":               {"The sub is on the list.", nil, headers(userHeader, "u-1"), allowedUser},
		"other user":         {"It is not.", nil, headers(userHeader, "u-2"), notAllowed},
		"user in other case": {"A sub is compared exactly.", nil, headers(userHeader, "U-1"), notAllowed},
		"start of a user":    {"Not a part of it.", nil, headers(userHeader, "u-"), notAllowed},
		"user and more":      {"Nor more than it.", nil, headers(userHeader, "u-1,u-2"), notAllowed},
		"user as name":       {"A preferred username can be chosen: it is never compared.", nil, headers(userHeader, "x", nameHeader, "u-1"), notAllowed},
		"user as email":      {"A user is no email.", nil, headers(userHeader, "x", emailHeader, "u-1"), notAllowed},
		"email as user":      {"Nor the other way round.", nil, headers(userHeader, "Bob@Example.org"), notAllowed},
		"email as group":     {"Nor a group.", nil, headers(userHeader, "x", groupsHeader, "Bob@Example.org"), notAllowed},
		"email":              {"The email is on the list.", nil, headers(userHeader, "x", emailHeader, "Bob@Example.org"), allowedEmail},
		"email in other case": {
			"People write emails in any case.", nil, headers(userHeader, "x", emailHeader, "bOB@eXAMPLE.ORG"), allowedEmail},
		"email with a Kelvin sign": {
			"Unicode would make k of it: another address, to which another person has the mail.",
			func(c *config) { c.Allow = allow{Emails: []string{"kim@example.org"}} },
			headers(userHeader, "x", emailHeader, "\u212aim@example.org"), notAllowed},
		"email without user":     {"An email alone is not what the plugin sends.", nil, headers(emailHeader, "Bob@Example.org"), noIdentity},
		"no email":               {"Whoever has no email is not on a list of emails.", nil, headers(userHeader, "x", emailHeader, ""), notAllowed},
		"group":                  {"One group is enough.", nil, headers(userHeader, "x", groupsHeader, "staff"), allowedGroup},
		"group among others":     {"It may stand anywhere.", nil, headers(userHeader, "x", groupsHeader, "a,staff,b"), allowedGroup},
		"group with spaces":      {"A name with a space in front is another name.", nil, headers(userHeader, "x", groupsHeader, "a, staff,b"), notAllowed},
		"group in other case":    {"A group is compared exactly.", nil, headers(userHeader, "x", groupsHeader, "Staff"), notAllowed},
		"part of a group":        {"The whole of it.", nil, headers(userHeader, "x", groupsHeader, "staffing,my staff"), notAllowed},
		"empty groups":           {"Between two commas is no group.", nil, headers(userHeader, "x", groupsHeader, ",, ,"), notAllowed},
		"group with a comma":     {"It cannot be told from two groups.", commas, headers(userHeader, "x", groupsHeader, "c,d"), notAllowed},
		"half of such a group":   {"And its halves are other groups.", commas, headers(userHeader, "x", groupsHeader, "c"), notAllowed},
		"anybody":                {"Whoever is signed in.", anybody, headers(userHeader, "x"), anyAuthenticated},
		"anybody, not signed in": {"But not who is not.", anybody, headers(), noIdentity},
		"nobody":                 {"No entry, nobody.", nobody, headers(userHeader, "u-1", emailHeader, "a@b", groupsHeader, "g"), notAllowed},

		"nothing":       {"Without a user there is nobody.", nil, headers(), noIdentity},
		"empty user":    {"An empty one is none.", anybody, headers(userHeader, ""), noIdentity},
		"spaces":        {"Nor are spaces.", anybody, headers(userHeader, "  "), noIdentity},
		"two users":     {"Somebody added one.", nil, headers(userHeader, "u-1", userHeader, "u-1"), duplicateIdentity},
		"two emails":    {"Any of the four.", nil, headers(userHeader, "u-1", emailHeader, "a@b", emailHeader, "c@d"), duplicateIdentity},
		"two groups":    {"Groups stand in one line.", nil, headers(userHeader, "u-1", groupsHeader, "a", groupsHeader, "staff"), duplicateIdentity},
		"two names":     {"Even the name that nothing depends on.", nil, headers(userHeader, "u-1", nameHeader, "a", nameHeader, ""), duplicateIdentity},
		"underscores":   {"Another header.", nil, http.Header{"X_auth_request_user": {"u-1"}}, noIdentity},
		"tab":           {"No plugin sends control characters.", anybody, headers(userHeader, "u\t1"), malformedIdentity},
		"line's end":    {"Least of all these.", anybody, headers(userHeader, "u-1", nameHeader, "a\r\nb"), malformedIdentity},
		"NUL":           {"Or this.", anybody, headers(userHeader, "u-1\x00"), malformedIdentity},
		"C1 control":    {"There are some in Unicode.", anybody, headers(userHeader, "u-1", groupsHeader, "a\u0085"), malformedIdentity},
		"no UTF-8":      {"Bytes that are no text match nothing.", anybody, headers(userHeader, "u-1", emailHeader, "\xff@b"), malformedIdentity},
		"umlaut":        {"Names are not ASCII.", anybody, headers(userHeader, "jürgen"), anyAuthenticated},
		"long user":     {"Nobody has that long a name.", anybody, headers(userHeader, strings.Repeat("u", maxName+1)), malformedIdentity},
		"longest user":  {"OpenID Connect allows 255.", anybody, headers(userHeader, strings.Repeat("u", maxName)), anyAuthenticated},
		"long name":     {"Nor that one.", anybody, headers(userHeader, "u", nameHeader, strings.Repeat("u", maxName+1)), malformedIdentity},
		"many groups":   {"People are in hundreds of groups.", nil, headers(userHeader, "x", groupsHeader, strings.Repeat("some-group,", 3000)+"staff"), allowedGroup},
		"endless group": {"But there is an end.", nil, headers(userHeader, "u-1", groupsHeader, strings.Repeat("g", maxHeaderBytes+1)), malformedIdentity},
		"other headers of a profile": {
			"The names come from the configuration, in any case.",
			func(c *config) { c.Headers = headerNames{User: "remote-USER"} }, headers("Remote-User", "u-1"), allowedUser},
		"the usual headers with another profile": {
			"Then these mean nothing.",
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

// FuzzIdentity reads header lines as net/http does, and compares the decision with one that is made slowly.
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
	f.Fuzz(func(t *testing.T, lines string, anybody bool) {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n")))
		if err != nil {
			return
		}
		c := testConfig(func(c *config) { c.Allow = list; c.Allow.AnyAuthenticated = anybody })
		got := newRules(c).decide(request.Header)
		if want := slowly(request.Header, c.Allow); got.allowed != want {
			t.Fatalf("allowed: %t, reason %s, want %t: %q", got.allowed, got.reason, want, request.Header)
		}
		if got.allowed != slices.Contains(allowing, got.reason) || got.allowed == slices.Contains(denying, got.reason) {
			t.Fatalf("allowed: %t, but the reason is %q", got.allowed, got.reason)
		}
		if got.allowed && got.who.user == "" {
			t.Fatal("allowed without a user")
		}
	})
}

// slowly decides as the documentation says, and shares nothing with the code.
func slowly(header http.Header, list allow) bool {
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
	for _, user := range list.Users {
		if user == values[userHeader] {
			return true
		}
	}
	for _, email := range list.Emails {
		if sameLetters(email, values[emailHeader]) {
			return true
		}
	}
	for _, group := range list.Groups {
		for _, has := range strings.Split(values[groupsHeader], ",") {
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

func sameLetters(a, b string) bool {
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
