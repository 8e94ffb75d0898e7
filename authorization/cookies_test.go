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
		"none":           {"There need not be one.", nil, ""},
		"others":         {"Jupyter's own stay, in their order.", []string{"_xsrf=2|a|b|1; username-localhost=\"2|1:0|x\""}, "_xsrf=2|a|b|1; username-localhost=\"2|1:0|x\""},
		"session alone":  {"Nothing is left.", []string{session + "=s"}, ""},
		"session":        {"It goes.", []string{"a=1; " + session + "=s; b=2"}, "a=1; b=2"},
		"without TLS":    {"So does the one of a server without TLS.", []string{"a=1; js-0123456789abcdef=s"}, "a=1"},
		"__Host-":        {"And of a profile that can.", []string{"__Host-js-0123456789abcdef=s; a=1"}, "a=1"},
		"chunks":         {"A large session is cut up.", []string{session + "_0=s; " + session + "_1=s; a=1"}, "a=1"},
		"csrf":           {"What belongs to the sign-in goes too.", []string{session + "_csrf_xyz=s; a=1"}, "a=1"},
		"another server": {"Two servers on one host may see each other's.", []string{"__Secure-js-fedcba9876543210=s; a=1"}, "a=1"},
		"several lines":  {"HTTP/2 splits cookies.", []string{"a=1", session + "=s", "b=2; c=3"}, "a=1; b=2; c=3"},
		"no space":       {"Some write no space.", []string{"a=1;" + session + "=s;b=2"}, "a=1; b=2"},
		"odd spaces":     {"Others too many.", []string{"  a=1 ;;\t" + session + " = s ; ;b=2;"}, "a=1; b=2"},
		"open quote":     {"A quote of another cookie does not swallow the session.", []string{`a="; ` + session + `=s; b="`}, `a="; b="`},
		"quoted":         {"A quoted session is one.", []string{`"` + session + `"="s"; a=1`}, "a=1"},
		"quoted value":   {"So is a quoted value.", []string{session + `="s;t"; a=1`}, `t"; a=1`},
		"comma":          {"A proxy that joins lines with a comma.", []string{"a=1, " + session + "=s; b=2"}, "b=2"},
		"after a quote":  {"A parser that ends a pair at a quote.", []string{`a="x"` + session + "=s; b=2"}, "b=2"},
		"after a blank":  {"Or at a blank.", []string{"a " + session + "=s; b=2"}, "b=2"},
		"no-break space": {"Python strips these.", []string{"\u00a0" + session + "=s; \xa0" + session + "=s; b=2"}, "b=2"},
		"no name":        {"A cookie without a name can look like that.", []string{"=" + session + "=s; ==" + session + "; b=2"}, "b=2"},
		"no value":       {"Or have no value.", []string{session + "; b=2"}, "b=2"},
		"line's end":     {"A header must not end early.", []string{"a=1\r\nX-Evil: 1; b=2; c=\x00; d=\x7f"}, "b=2"},
		"similar":        {"What only looks similar stays.", []string{"js-0123=1; xjs-0123456789abcdef=1; js-0123456789ABCDEF=1; __secure-js-0123456789abcdef=1"}, "js-0123=1; xjs-0123456789abcdef=1; js-0123456789ABCDEF=1; __secure-js-0123456789abcdef=1"},
		"in a value":     {"The name counts, not the value.", []string{"last=js-0123456789abcdef; a=1"}, "last=js-0123456789abcdef; a=1"},
		"umlaut":         {"Bytes beyond ASCII stay as they are.", []string{"a=\xfc; b=ü"}, "a=\xfc; b=ü"},
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

// FuzzCookies puts a session between other cookies. It must not come out, whoever reads the result; the others must.
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
				t.Fatalf("this cannot stand in a header: %q", got)
			}
		}
		for _, name := range read(got) {
			if sessionName.MatchString(name) {
				t.Fatalf("somebody reads the session %q in %q", name, got)
			}
		}
		if again := withoutSession([]string{got}); again != got {
			t.Fatalf("the second time differs: %q -> %q", got, again)
		}
		rest := strings.Split(got, "; ")
		for _, pair := range strings.Split(before+";"+after, ";") {
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

// read returns the names of cookies as several kinds of programs see them.
func read(header string) []string {
	var names []string
	for _, pair := range strings.Split(header, ";") { // Tornado
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
