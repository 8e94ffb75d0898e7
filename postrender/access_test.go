// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"slices"
	"strings"
	"testing"
)

// accessGolden returns a stream with an AccessProxy object after replacing pairs of strings in it.
func accessGolden(t testing.TB, changes ...string) string {
	t.Helper()
	stream := readGolden(t, "testdata/access-bare-pod.txt").input
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(stream, changes[i]) {
			t.Fatalf("the golden does not contain %q", changes[i])
		}
		stream = strings.ReplaceAll(stream, changes[i], changes[i+1])
	}
	return stream
}

func TestAccessErrors(t *testing.T) {
	parts := strings.SplitAfter(accessGolden(t), "---\n") // nothing, StatefulSet, Service, AccessProxy
	set, proxy := "---\n"+strings.TrimSuffix(parts[1], "---\n"), "---\n"+parts[3]
	for _, tc := range []struct {
		reason, stream string
		want           []string
	}{
		{"two AccessProxy objects", accessGolden(t) + proxy, []string{"documents 3 and 4", "AccessProxy", "only one"}},
		{"nothing to protect", proxy, []string{"AccessProxy alice", "0 objects of kind StatefulSet"}},
		{"a pod of another name is not protected instead", accessGolden(t, "kind: StatefulSet\nmetadata: {name: alice", "kind: StatefulSet\nmetadata: {name: bob"), []string{"AccessProxy alice", "0 objects of kind StatefulSet"}},
		{"two of the name: one would stay unprotected", accessGolden(t) + set, []string{"AccessProxy alice", "2 objects of kind StatefulSet"}},
		{"no Service", accessGolden(t, "kind: Service", "kind: Servic"), []string{"AccessProxy alice", "0 objects of kind Service"}},
		{"a Service with a second port", accessGolden(t, "[{port: 80}]", "[{port: 80}, {port: 81}]"), []string{"Service alice", "one port"}},
		{"a Service without ports", accessGolden(t, "spec: {ports: [{port: 80}]}", "spec: {}"), []string{"Service alice", "one port"}},
		{"a StatefulSet without a pod", accessGolden(t, "spec: {template: {spec: {containers: [{name: jupyter}]}}}", "spec: {}"), []string{"StatefulSet alice", "spec.template.spec"}},
		{"a policy that admits no peers", accessGolden(t) + "---\nkind: NetworkPolicy\nmetadata: {name: alice}\n", []string{"NetworkPolicy alice", "spec.ingress"}},

		{"an unknown profile", accessGolden(t, "profile: tiny", "profile: other"), []string{`no profile "other"`, "tiny, oauth2-proxy"}},
		{"a profile outside of the folder", accessGolden(t, "profile: tiny", "profile: ../templates/pod"), []string{"no profile"}},
		{"no profile", accessGolden(t, "profile: tiny", "profile: ''"), []string{"spec.profile is missing"}},
		{"an unknown field", accessGolden(t, "  host:", "  hots: x\n  host:"), []string{`"spec.hots"`}},
		{"no host", accessGolden(t, "host: jupyter.example.org", "host: ''"), []string{"spec.host is missing"}},
		{"a host that would end the rule", accessGolden(t, "host: jupyter.example.org", "host: 'a`) || PathPrefix(`/'"), []string{"spec.host"}},
		{"a path that would end the rule", accessGolden(t, "path: /alice", "path: '/a`) || PathPrefix(`/'"), []string{"spec.path"}},
		{"a path with a trailing slash", accessGolden(t, "path: /alice", "path: /alice/"), []string{"spec.path"}},
		{"a URL without a trailing slash", accessGolden(t, "org/alice/", "org/alice"), []string{"spec.url"}},
		{"a URL of another scheme", accessGolden(t, "https://jupyter", "ftp://jupyter"), []string{"spec.url"}},
		{"an empty allow", accessGolden(t, "allow: {users: [alice]}", "allow: {}"), []string{"spec.oidc.allow"}},
		{"no issuer", accessGolden(t, "issuerUrl: https://accounts.example.org", "issuerUrl: ''"), []string{"spec.oidc.issuerUrl is missing"}},

		{"a container with a reserved name", accessGolden(t, "[{name: jupyter}]", "[{name: jupyter}, {name: access-proxy}]"), []string{"containers", "access-proxy"}},
		{"an init container with a reserved name", accessGolden(t, "containers:", "initContainers: [{name: access-check}], containers:"), []string{"initContainers", "access-check"}},
		{"a volume with a reserved name", accessGolden(t, "containers:", "volumes: [{name: access-state}], containers:"), []string{"volumes", "access-state"}},
		{"a mount of a reserved volume", accessGolden(t, "{name: jupyter}", "{name: jupyter, volumeMounts: [{name: access-client-secret}]}"), []string{"jupyter", "access-client-secret"}},

		{"a port with a reserved name, which a Service could target instead of the proxy", accessGolden(t, "{name: jupyter}", "{name: jupyter, ports: [{name: access-proxy, containerPort: 9999}]}"), []string{"jupyter", "port access-proxy"}},

		{"a profile without an image", accessGolden(t, "image: tiny:1", "image: ''"), []string{"profile tiny", "image"}},
		{"a plugin on Jupyter's port", accessGolden(t, "port: 4180", "port: 8888"), []string{"profile tiny", "port", "8888"}},
		{"an identity header among the request headers", accessGolden(t, "requestHeaders: [Cookie]", "requestHeaders: [Cookie, x-user]"), []string{"requestHeaders", "x-user"}},
		{"no request headers, which traefik reads as all headers", accessGolden(t, "requestHeaders: [Cookie]", "requestHeaders: []"), []string{"requestHeaders", "Cookie"}},
		{"a header with an underscore", accessGolden(t, "user: X-User", "user: X_User"), []string{"headers", "X_User"}},
		{"no header for the user", accessGolden(t, "user: X-User, ", ""), []string{"headers.user"}},
		{"a sign-out path that Jupyter serves", accessGolden(t, "signOutPath: /oauth2/sign_out", "signOutPath: /logout"), []string{"signOutPath"}},
		{"a file that replaces one of the proxy's", accessGolden(t, `"tiny.conf"`, `"routes.yaml"`), []string{"files", "routes.yaml"}},
		{"a file in another folder", accessGolden(t, `"tiny.conf"`, `"../tiny"`), []string{"files", "../tiny"}},
		{"a template with a syntax error", accessGolden(t, "{{ .RedirectURL }}", "{{ .RedirectURL"), []string{"files.tiny.conf"}},
		{"a template with an unknown field", accessGolden(t, "{{ .RedirectURL }}", "{{ .Redirect }}"), []string{"files.tiny.conf", "Redirect"}},
		{"a template that does not end", accessGolden(t, "{{ .RedirectURL }}", "{{ range 100000000 }}xxxxxxxxxx{{ end }}"), []string{"files.tiny.conf", "128 KiB"}},
		{"a value that Apache would expand", accessGolden(t, "{{ .RedirectURL }}", "{{ apache .ClientID }}", "clientId: jupyter", "clientId: 'a${HOME}'"), []string{"Apache"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			out, err := Run([]byte(tc.stream))
			if out != nil || err == nil {
				t.Fatalf("got %q, %v", out, err)
			}
			text := err.Error()
			if strings.Contains(text, "\n") || len(text) > 400 {
				t.Errorf("not one short line: %q", text)
			}
			for _, part := range tc.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q does not contain %q", text, part)
				}
			}
			t.Log(text)
		})
	}
}

// A value of a spec stays one value in every file, whatever it contains.
func TestHostileValuesStayValues(t *testing.T) {
	hostile := "x\" ]\n[evil]\nskip_auth_routes = [\".*\"] # '`$(id)"
	for name, quoted := range map[string]func() (string, error){
		"toml": func() (string, error) { return quoteTOML(hostile) },
		"yaml": func() (string, error) { return quoteYAML(hostile) },
	} {
		got, err := quoted()
		if err != nil || strings.Contains(got, "\n") || got[0] != '"' {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := quoteApache("a\nb"); err == nil {
		t.Errorf("apache accepts a line break: %q", got)
	}
	if got, err := quoteApache(`a"b\c`); err != nil || got != `"a\"b\\c"` {
		t.Errorf("apache: %q, %v", got, err)
	}
}

func TestBuiltinProfilesAreValid(t *testing.T) {
	if len(builtin()) == 0 {
		t.Fatal("there are no built-in profiles")
	}
	for name, profile := range builtin() {
		if err := profile.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An administrator's profile overrides a built-in one of the same name.
func TestGivenProfileComesFirst(t *testing.T) {
	mine := builtin()["oauth2-proxy"]
	mine.Image = "mine"
	profile, err := FindProfile("oauth2-proxy", []Profile{mine})
	if err != nil || profile.Image != "mine" {
		t.Errorf("%+v, %v", profile, err)
	}
}

// These options of oauth2-proxy would weaken the access control or break the contract.
func TestBuiltinProfileHasNoDangerousOption(t *testing.T) {
	set := optionsOfOAuth2Proxy(builtin()["oauth2-proxy"])
	if !slices.Contains(set, "cookie_secure") || !slices.Contains(set, "config") {
		t.Fatalf("the options are not found, only %q", set)
	}
	for _, dangerous := range []string{"skip_auth_", "skip_jwt", "trusted_ips", "whitelist_domains", "cookie_domains", "ping_user_agent", "gcp_healthchecks", "insecure_oidc_allow_unverified_email", "insecure_oidc_skip_issuer", "pass_access_token", "set_authorization_header", "show_debug_on_error", "htpasswd"} {
		for _, option := range set {
			if strings.HasPrefix(option, dangerous) {
				t.Errorf("it sets %s", option)
			}
		}
	}
}

// optionsOfOAuth2Proxy are the names of the options that a profile sets in the configuration file, as arguments, and as
// environment variables, spelt as in the file.
func optionsOfOAuth2Proxy(profile Profile) []string {
	var names []string
	for line := range strings.Lines(profile.Files["oauth2-proxy.cfg"]) {
		if name, _, isOption := strings.Cut(line, "="); isOption && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	for _, argument := range slices.Concat(profile.Command, profile.Args) {
		name, _, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		names = append(names, strings.ReplaceAll(name, "-", "_"))
	}
	for _, variable := range profile.Env {
		names = append(names, strings.ToLower(strings.TrimPrefix(variable.Name, "OAUTH2_PROXY_")))
	}
	return names
}

func TestCookieNames(t *testing.T) {
	alice, bob := cookieName("team", "alice", false), cookieName("team", "bob", false)
	if alice == bob || alice == cookieName("te", "amalice", false) || alice != cookieName("team", "alice", false) {
		t.Errorf("cookie names collide or change: %s, %s", alice, bob)
	}
	if got := cookieName("team", "alice", true); got != "__Secure-"+alice {
		t.Errorf("with TLS: %s", got)
	}
}
