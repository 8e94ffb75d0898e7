// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

func TestOptions(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := write("secret", "s\n")
	tests := []struct {
		reason  string
		flags   flags
		users   int
		invalid bool
	}{
		{reason: "demo users", flags: flags{listen: ":0", secretFile: secret}, users: 3},
		{reason: "users from a file", flags: flags{listen: ":0", secretFile: secret, users: write("users", "- {sub: a, username: b, password: c}\n")}, users: 1},
		{reason: "a misspelt field", flags: flags{listen: ":0", secretFile: secret, users: write("misspelt", "- {subject: a}\n")}, invalid: true},
		{reason: "no secret", flags: flags{listen: ":0"}, invalid: true},
		{reason: "nothing to listen on", flags: flags{secretFile: secret}, invalid: true},
		{reason: "TLS without a certificate", flags: flags{listenTLS: ":0", secretFile: secret}, invalid: true},
	}
	t.Setenv("CLIENT_SECRET", "")
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			all, err := test.flags.options()
			if (err != nil) != test.invalid {
				t.Fatalf("got %v", err)
			}
			if err == nil && (len(all) != 1 || len(all[0].Users) != test.users || all[0].Clients[0].Secret != "s") {
				t.Errorf("got %+v", all)
			}
		})
	}
}

func TestIsOperatorURL(t *testing.T) {
	for text, want := range map[string]bool{
		"http://jupyter.localhost:8000/alice/oauth2/callback":   true,
		"https://jupyter.localhost/oauth2/callback":             true,
		"https://jupyter.localhost/a/b/oauth2/signed-out":       true,
		"https://jupyter.localhost/a/b/oauth2/callback/..":      false,
		"https://example.org/oauth2/callback":                   false,
		"https://example.org/#.localhost/oauth2/callback":       false,
		"https://example.org?.localhost/oauth2/callback":        false,
		"https://a.localhost@example.org/oauth2/callback":       false,
		"https://example.org@a.localhost/oauth2/callback":       false,
		"javascript://a.localhost/%0Aalert(1)//oauth2/callback": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := isOperatorURL(u); got != want {
			t.Errorf("%s: got %t", text, got)
		}
	}
}
