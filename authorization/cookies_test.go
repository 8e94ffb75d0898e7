// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestWithoutSession(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		lines  []string
		want   string
	}{
		"none":           {"Cookies are optional.", nil, ""},
		"others":         {"Jupyter's own cookies stay, in order.", []string{"_xsrf=2|a|b|1; username-localhost=\"2|1:0|x\""}, "_xsrf=2|a|b|1; username-localhost=\"2|1:0|x\""},
		"session alone":  {"No cookie is left.", []string{session + "=s"}, ""},
		"session":        {"The session cookie is removed.", []string{"a=1; " + session + "=s; b=2"}, "a=1; b=2"},
		"without TLS":    {"Servers without TLS have no prefix.", []string{"a=1; js-0123456789abcdef=s"}, "a=1"},
		"__Host-":        {"A profile may use the __Host- prefix.", []string{"__Host-js-0123456789abcdef=s; a=1"}, "a=1"},
		"chunks":         {"A large session is split into chunks.", []string{session + "_0=s; " + session + "_1=s; a=1"}, "a=1"},
		"csrf":           {"Cookies of the sign-in are removed too.", []string{session + "_csrf_xyz=s; a=1"}, "a=1"},
		"another server": {"Servers on one host may receive each other's cookies.", []string{"__Secure-js-fedcba9876543210=s; a=1"}, "a=1"},
		"several lines":  {"HTTP/2 may split cookies into several lines.", []string{"a=1", session + "=s", "b=2; c=3"}, "a=1; b=2; c=3"},
		"no space":       {"Some clients send no space.", []string{"a=1;" + session + "=s;b=2"}, "a=1; b=2"},
		"odd spaces":     {"Some clients send extra spaces.", []string{"  a=1 ;;\t" + session + " = s ; ;b=2;"}, "a=1; b=2"},
		"open quote":     {"An open quote in another cookie does not hide the session.", []string{`a="; ` + session + `=s; b="`}, `a="; b="`},
		"quoted":         {"A quoted session name counts.", []string{`"` + session + `"="s"; a=1`}, "a=1"},
		"quoted value":   {"A quoted value counts.", []string{session + `="s;t"; a=1`}, `t"; a=1`},
		"comma":          {"A proxy may join lines with a comma.", []string{"a=1, " + session + "=s; b=2"}, "b=2"},
		"after a quote":  {"A parser may end a pair at a quote.", []string{`a="x"` + session + "=s; b=2"}, "b=2"},
		"after a blank":  {"A parser may end a pair at a blank.", []string{"a " + session + "=s; b=2"}, "b=2"},
		"no-break space": {"Python strips no-break spaces.", []string{"\u00a0" + session + "=s; \xa0" + session + "=s; b=2"}, "b=2"},
		"no name":        {"A cookie without a name can look like this.", []string{"=" + session + "=s; ==" + session + "; b=2"}, "b=2"},
		"no value":       {"A cookie may have no value.", []string{session + "; b=2"}, "b=2"},
		"line's end":     {"Control characters must not end the header.", []string{"a=1\r\nX-Evil: 1; b=2; c=\x00; d=\x7f"}, "b=2"},
		"similar":        {"Similar names stay.", []string{"js-0123=1; xjs-0123456789abcdef=1; js-0123456789ABCDEF=1; __secure-js-0123456789abcdef=1"}, "js-0123=1; xjs-0123456789abcdef=1; js-0123456789ABCDEF=1; __secure-js-0123456789abcdef=1"},
		"in a value":     {"Only names are compared, not values.", []string{"last=js-0123456789abcdef; a=1"}, "last=js-0123456789abcdef; a=1"},
		"umlaut":         {"Non-ASCII bytes stay unchanged.", []string{"a=\xfc; b=ü"}, "a=\xfc; b=ü"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := withoutSession(test.lines); got != test.want {
				t.Fatalf("%s\ngot  %q\nwant %q", test.reason, got, test.want)
			}
		})
	}
}

var (
	sessionName = regexp.MustCompile(`^(__Secure-|__Host-)?js-[0-9a-f]{16}`)
	// wellFormed is a cookie-pair of RFC 6265, section 4.1.1, without quotes.
	wellFormed = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+=[!#-+\\--:<-\\[\\]-~]*$")
)

// FuzzCookies adds a session cookie between other cookies. It must be removed for every parser; the others must be kept.
func FuzzCookies(f *testing.F) {
	for _, seed := range []string{"a=1", `a="`, "a=1, b", "=", "\t;;", "js-0123456789abcde", "__Secure-", "a=\\\"", "\u00a0", "a\r\n", "__Host-js-0123456789abcdef_0=x"} {
		for separator := range uint8(6) {
			f.Add(seed, "b=2; c", separator)
			f.Add("_xsrf=1", seed, separator)
		}
	}
	f.Fuzz(func(t *testing.T, before, after string, separator uint8) {
		const secret = "TheSecretOfTheSession"
		if strings.Contains(before+after, secret) {
			return
		}
		between := []string{"; ", ";", " ;\t", ", ", `"`, " "}[int(separator)%6]
		lines := []string{before, before + between + session + "_1=" + secret + "; " + after}
		got := withoutSession(lines)

		if strings.Contains(got, secret) {
			t.Fatalf("the session is still there: %q -> %q", lines, got)
		}
		for _, c := range []byte(got) {
			if c < ' ' && c != '\t' || c == 0x7f {
				t.Fatalf("invalid header value: %q", got)
			}
		}
		for _, name := range read(got) {
			if sessionName.MatchString(name) {
				t.Fatalf("a parser finds the session %q in %q", name, got)
			}
		}
		if again := withoutSession([]string{got}); again != got {
			t.Fatalf("a second call differs: %q -> %q", got, again)
		}
		rest := strings.Split(got, "; ")
		for pair := range strings.SplitSeq(before+";"+after, ";") {
			pair = strings.Trim(pair, " \t")
			if !wellFormed.MatchString(pair) || sessionName.MatchString(pair) {
				continue
			}
			for len(rest) > 0 && rest[0] != pair {
				rest = rest[1:]
			}
			if len(rest) == 0 {
				t.Fatalf("%q is lost: %q -> %q", pair, lines, got)
			}
		}
	})
}

// read returns the names of cookies according to several parsers.
func read(header string) []string {
	var names []string
	for pair := range strings.SplitSeq(header, ";") { // Tornado
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, strings.TrimSpace(name))
	}
	names = append(names, regexp.MustCompile(`[;,\s"]+`).Split(header, -1)...) // RFC 2965, quotes
	if cookies, err := http.ParseCookie(header); err == nil {
		for _, cookie := range cookies {
			names = append(names, cookie.Name)
		}
	}
	return names
}
