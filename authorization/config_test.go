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
		want   string // the start of the error; empty: there is none
	}{
		"right": {
			reason: "The file of the contract is taken.",
			edit:   func(map[string]any) {},
		},
		"nobody": {
			reason: "Rules that allow nobody are rules.",
			edit:   func(c map[string]any) { c["allow"] = map[string]any{} },
		},
		"public client": {
			reason: "A public client has no secret, and there need not be a CA of one's own.",
			edit: func(c map[string]any) {
				c["provider"].(map[string]any)["clientSecretFile"] = ""
				c["provider"].(map[string]any)["caFile"] = ""
			},
		},
		"profile without groups": {
			reason: "A plugin need not answer with all headers.",
			edit:   func(c map[string]any) { c["headers"] = map[string]any{"user": "Remote-User"} },
		},
		"unknown field": {
			reason: "What is misspelt would not hold.",
			edit:   func(c map[string]any) { c["alow"] = 1 },
			want:   `unknown field "alow"`,
		},
		"unknown field within": {
			reason: "So it is in the depth.",
			edit:   func(c map[string]any) { c["allow"].(map[string]any)["user"] = "x" },
			want:   `unknown field "user"`,
		},
		"wrong type": {
			reason: "The field is named as the file has it.",
			edit:   func(c map[string]any) { c["allow"].(map[string]any)["users"] = "x" },
			want:   "allow.users: a JSON string cannot stand here",
		},
		"empty email": {
			reason: "An empty entry would stand for everybody without a verified email.",
			edit:   func(c map[string]any) { c["allow"].(map[string]any)["emails"] = []string{"a@example.org", ""} },
			want:   "allow.emails[1]: must not be empty",
		},
		"no server": {
			reason: "Pages need a name.",
			edit:   func(c map[string]any) { delete(c, "server") },
			want:   "server: ",
		},
		"home without slash": {
			reason: "Without it, /alice/ would be the start of /alicex/ too.",
			edit:   func(c map[string]any) { c["home"] = "/alice" },
			want:   "home: ",
		},
		"sign-out elsewhere": {
			reason: "The page links to it: it must be a path of this server.",
			edit:   func(c map[string]any) { c["signOut"] = "//evil.example.org/" },
			want:   "signOut: ",
		},
		"sign-out script": {
			reason: "And no script.",
			edit:   func(c map[string]any) { c["signOut"] = "javascript:alert(1)" },
			want:   "signOut: ",
		},
		"no user header": {
			reason: "Without it nobody could be told apart.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["user"] = "" },
			want:   "headers.user: must not be empty",
		},
		"underscore": {
			reason: "Some programs take X_User for X-User, so that a client could set it.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["email"] = "X_Email" },
			want:   "headers.email: ",
		},
		"same header twice": {
			reason: "An email is no user; the case of a header's name does not count.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["email"] = "x-auth-request-USER" },
			want:   "headers.email: x-auth-request-USER is the header of headers.user already",
		},
		"cookie as identity": {
			reason: "A browser sets cookies.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["groups"] = "cookie" },
			want:   "headers.groups: ",
		},
		"forwarded as identity": {
			reason: "The proxy sets these to what the client asked for.",
			edit:   func(c map[string]any) { c["headers"].(map[string]any)["groups"] = "X-Forwarded-Uri" },
			want:   "headers.groups: ",
		},
		"no URL": {
			reason: "Nothing can be asked without one.",
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
		"empty":     {"A file that is being made is not yet right.", "", "the JSON object ends too early"},
		"cut":       {"Nor is half of one.", right[:len(right)/2], "the JSON object ends too early"},
		"two":       {"Which of two objects holds, nobody knows.", right + right, "there is something after the JSON object"},
		"no object": {"A list is no configuration.", "[]", "a JSON array cannot stand here"},
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
		t.Fatalf("a file without an end: %v", err)
	}
}
