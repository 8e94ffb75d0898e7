// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		edit   func(map[string]any)
		want   string // prefix of the error; empty: no error
	}{
		"right": {
			reason: "The documented file is valid.",
			edit:   func(map[string]any) {},
		},
		"empty allow": {
			reason: "Rules may allow no one.",
			edit:   func(c map[string]any) { c["allow"] = map[string]any{} },
		},
		"public client": {
			reason: "A client secret and a CA are optional.",
			edit: func(c map[string]any) {
				c["provider"].(map[string]any)["clientSecretFile"] = ""
				c["provider"].(map[string]any)["caFile"] = ""
			},
		},
		"profile without groups": {
			reason: "Only the header of the user is required.",
			edit:   func(c map[string]any) { c["headers"] = map[string]any{"user": "Remote-User"} },
		},
		"unknown field": {
			reason: "A misspelt field would have no effect.",
			edit:   func(c map[string]any) { c["alow"] = 1 },
			want:   `unknown field "alow"`,
		},
		"unknown nested field": {
			reason: "Nested fields are checked as well.",
			edit:   func(c map[string]any) { c["allow"].(map[string]any)["user"] = "x" },
			want:   `unknown field "user"`,
		},
		"wrong type": {
			reason: "The error names the field as in the file.",
			edit:   func(c map[string]any) { c["allow"].(map[string]any)["users"] = "x" },
			want:   "allow.users: unexpected JSON string",
		},
		"empty email": {
			reason: "An empty entry would match every user without a verified email.",
			edit:   func(c map[string]any) { c["allow"].(map[string]any)["emails"] = []string{"a@example.org", ""} },
			want:   "allow.emails[1]: must not be empty",
		},
		"no server": {
			reason: "Pages show the name.",
			edit:   func(c map[string]any) { delete(c, "server") },
			want:   "server: ",
		},
		"home without slash": {
			reason: "Without the slash, /alice would also be a prefix of /alicex/.",
			edit:   func(c map[string]any) { c["home"] = "/alice" },
			want:   "home: ",
		},
		"sign-out elsewhere": {
			reason: "The page links to it, so it must be a path of this host.",
			edit:   func(c map[string]any) { c["signOut"] = "//evil.example.org/" },
			want:   "signOut: ",
		},
		"sign-out script": {
			reason: "The link must not run a script.",
			edit:   func(c map[string]any) { c["signOut"] = "javascript:alert(1)" },
			want:   "signOut: ",
		},
		"no user header": {
			reason: "Without it users cannot be distinguished.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["user"] = "" },
			want:   "headers.user: must not be empty",
		},
		"underscore": {
			reason: "Some programs treat X_User like X-User, so that a client could set it.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["email"] = "X_Email" },
			want:   "headers.email: ",
		},
		"same header twice": {
			reason: "Each header has one meaning; names are case-insensitive.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["email"] = "x-auth-request-USER" },
			want:   "headers.email: x-auth-request-USER is already the header of headers.user",
		},
		"cookie as identity": {
			reason: "Cookies are set by the browser.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["groups"] = "cookie" },
			want:   "headers.groups: ",
		},
		"forwarded as identity": {
			reason: "The proxy sets these headers from the client's request.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["groups"] = "X-Forwarded-Uri" },
			want:   "headers.groups: ",
		},
		"no URL": {
			reason: "Readiness checks need a URL.",
			edit: func(c map[string]any) {
				c["chain"].(map[string]any)["jupyter"] = map[string]any{"url": "127.0.0.1:8888"}
			},
			want: "chain.jupyter.url: ",
		},
		"issuer with a query": {
			reason: "OpenID Connect Discovery forbids it.",
			edit:   func(c map[string]any) { c["provider"].(map[string]any)["issuer"] = "https://example.org/?a=b" },
			want:   "provider.issuer: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(text(t, testConfig())), &fields); err != nil {
				t.Fatal(err)
			}
			test.edit(fields)
			raw, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseConfig("c.json", raw)
			if test.want == "" && err != nil {
				t.Fatalf("%s\nerror: %v", test.reason, err)
			}
			if test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "c.json: "+test.want)) {
				t.Fatalf("%s\nerror: %v\nwant:  %s", test.reason, err, test.want)
			}
		})
	}
}

func TestParseConfigText(t *testing.T) {
	right := text(t, testConfig())
	for name, test := range map[string]struct{ reason, raw, want string }{
		"empty":     {"The file may be read while it is created.", "", "unexpected end of the JSON object"},
		"cut":       {"The file may be read while it is written.", right[:len(right)/2], "unexpected end of the JSON object"},
		"two":       {"Two objects are ambiguous.", right + right, "unexpected content after the JSON object"},
		"no object": {"The configuration is an object.", "[]", "unexpected JSON array"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseConfig("c.json", []byte(test.raw))
			if err == nil || err.Error() != "c.json: "+test.want {
				t.Fatalf("%s\nerror: %v\nwant:  %s", test.reason, err, test.want)
			}
		})
	}
}

func TestReadConfig(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "authorization.json"), text(t, testConfig()))
	got, _, err := readConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, testConfig()) {
		t.Fatalf("got %+v\nwant %+v", got, testConfig())
	}
	writeFile(t, path, strings.Repeat(" ", maxConfig+1))
	if _, _, err := readConfig(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("a file that exceeds the limit: %v", err)
	}
}
