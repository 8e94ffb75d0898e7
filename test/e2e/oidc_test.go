// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// settle is how long a change of allowed users may take to become effective: the kubelet syncs ConfigMaps periodically.
const settle = 2 * time.Minute

func TestAllowedUsersSignInAndOthersAreDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", w.oidc("{users: [alice], groups: [students]}")...)
	server := w.running("alice")
	w.reachable(server)

	anonymous := w.visitor()
	w.checkDenied(server, anonymous, "an anonymous client", http.StatusFound, http.StatusUnauthorized)
	asked := server.Status.URL + "lab/tree/notes/a%20b.ipynb?reset&x=1%262"
	alice, page := w.signIn(asked, "alice")
	if page.Status != http.StatusOK || page.URL.String() != asked {
		t.Errorf("alice requested %s and was redirected to %s with HTTP status %d", asked, page.URL, page.Status)
	}
	if got := w.cell(w.jupyterOf(server, alice), "6*7").Result; got != "42" {
		t.Errorf("6*7 is %q, want 42", got)
	}

	bob, page := w.signIn(server.Status.URL, "bob") // in the group students
	if page.Status != http.StatusOK {
		t.Errorf("a member of an allowed group gets HTTP status %d at %s", page.Status, page.URL)
	}
	uid := w.podUID("alice-0")
	w.apply("alice", w.oidc("{emails: [ALICE@example.org]}")...)
	w.eventually("bob is denied, without a new pod", settle, func() error {
		if got := w.request(bob, http.MethodGet, server.Status.URL+"api/status", nil).Status; got != http.StatusForbidden {
			return fmt.Errorf("HTTP status %d", got)
		}
		return nil
	})
	w.checkDenied(server, bob, "a user who is not allowed", http.StatusForbidden, http.StatusForbidden)
	if got := w.request(alice, http.MethodGet, server.Status.URL+"api/status", nil).Status; got != http.StatusOK {
		t.Errorf("alice, who is allowed by email, gets HTTP status %d", got)
	}
	if got := w.podUID("alice-0"); got != uid {
		t.Error("a change of allowed users replaced the pod")
	}
	page = w.open(bob, server.Status.URL)
	for _, part := range []string{"bob", "alice", "sign_out"} { // the signed-in user, the server, the link to sign out
		if !strings.Contains(page.Body, part) {
			t.Errorf("the page for a denied user lacks %q:\n%s", part, page.Body)
		}
	}
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("its Content-Security-Policy is %q", policy)
	}
	answer := w.request(bob, http.MethodGet, server.Status.URL+"api/status", nil)
	if !json.Valid([]byte(answer.Body)) || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
		t.Errorf("a denied script gets %s: %s", answer.Header.Get("Content-Type"), answer.Body)
	}
}

func TestSigningOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", w.oidc("{users: [alice]}")...)
	server := w.running("alice")
	for _, way := range []string{"oauth2/sign_out?rd=" + url.QueryEscape("/alice/oauth2/signed-out"), "logout"} { // JupyterLab's menu uses the second
		agent, _ := w.enter(server, "alice")
		page := w.open(agent, server.Status.URL+way)
		if page.Status != http.StatusOK || !strings.HasSuffix(page.URL.Path, "/signed-out") || !strings.Contains(page.Body, "signed out") {
			t.Errorf("%s redirects to %s with HTTP status %d: %s", way, page.URL, page.Status, page.Body)
		}
		w.checkDenied(server, agent, "a user signed out by "+way, http.StatusFound, http.StatusUnauthorized)
	}
	// Signing out does not redirect to other hosts.
	for _, target := range []string{"https://evil.example.org/", "//evil.example.org", `/\evil.example.org`, "/%09/evil.example.org"} {
		page := w.request(w.visitor(), http.MethodGet, server.Status.URL+"oauth2/sign_out?rd="+url.QueryEscape(target), nil)
		if location, err := page.URL.Parse(page.Header.Get("Location")); err != nil || page.Header.Get("Location") != "" && location.Host != page.URL.Host {
			t.Errorf("signing out with rd=%q redirects to %s", target, page.Header.Get("Location"))
		}
	}
}

func TestSessionsOfServersOnAHostAreSeparate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", w.oidc("{anyAuthenticated: true}")...)
	w.apply("alicex", w.oidc("{anyAuthenticated: true}")...) // its path has the other's as prefix
	alice, alicex := w.running("alice"), w.running("alicex")
	w.reachable(alicex)
	agent, client := w.enter(alice, "bob")
	w.putFile(client, "name.txt", "of alice")
	w.checkDenied(alicex, agent, "a session of another server", http.StatusFound, http.StatusUnauthorized)

	// The same cookies with the name and path of the other server.
	var header []string
	name := regexp.MustCompile(`js-[0-9a-f]{16}`).FindString(w.kubectl("get", "configmap", "alicex-access", "-o", "yaml"))
	for _, cookie := range agent.HTTP.Jar.Cookies(mustParse(t, alice.Status.URL)) {
		if _, suffix, found := strings.Cut(cookie.Name, "js-"); found {
			header = append(header, name+suffix[16:]+"="+cookie.Value)
		}
	}
	if len(header) == 0 {
		t.Fatal("bob has no session cookie")
	}
	stolen := http.Header{"Cookie": {strings.Join(header, "; ")}}
	if got := w.request(w.visitor(), http.MethodGet, alicex.Status.URL+"api/status", stolen).Status; got != http.StatusUnauthorized {
		t.Errorf("the cookies of another server, renamed: HTTP status %d, want 401", got)
	}

	w.signInAgain(agent, alicex.Status.URL, "bob")
	w.putFile(w.jupyterOf(alicex, agent), "name.txt", "of alicex")
	w.wantFile(w.jupyterOf(alice, agent), "name.txt", "of alice")
	for _, path := range []string{"/alicey/lab", "/ali/lab", "/alice.x/lab", "/ALICE/lab", "/"} {
		address := mustParse(t, alice.Status.URL)
		address.Path = path
		if got := w.request(agent, http.MethodGet, address.String(), nil).Status; got != http.StatusNotFound {
			t.Errorf("%s: HTTP status %d, want 404", path, got)
		}
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Jupyter receives other cookies, but no sessions and no identity.
func TestJupyterSeesNeitherSessionsNorIdentities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", w.oidc("{users: [alice]}", fmt.Sprintf("jupyterServer: {image: %q}", os.Getenv("E2E_ECHO_IMAGE")))...)
	server := w.running("alice")
	w.reachable(server)
	agent, page := w.signIn(server.Status.URL, "alice")
	if page.Status != http.StatusOK {
		t.Fatalf("HTTP status %d at %s", page.Status, page.URL)
	}
	page = w.request(agent, http.MethodGet, server.Status.URL+"api/x?y=1", http.Header{
		"Cookie":              {"mine=1; js-0123456789abcdef=x"},
		"X-Auth-Request-User": {"root"}, "X_auth_request_user": {"root"}, "X-Forwarded-User": {"root"},
		"X-Forwarded-Prefix": {"/evil"}, "X-Forwarded-Host": {"evil.example.org"},
	})
	var seen struct {
		Path, Query, Host string
		Header            http.Header
	}
	if err := json.Unmarshal([]byte(page.Body), &seen); err != nil {
		t.Fatalf("%v in %s", err, page.Body)
	}
	if seen.Path != "/alice/api/x" || seen.Query != "y=1" {
		t.Errorf("Jupyter got a request for %s?%s", seen.Path, seen.Query)
	}
	if got := seen.Header.Get("Cookie"); !strings.Contains(got, "mine=1") || strings.Contains(got, "js-") {
		t.Errorf("Jupyter got the cookies %q", got)
	}
	for name, values := range seen.Header {
		for _, value := range values {
			if strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), "X-Auth-Request") || strings.Contains(value, "evil") || value == "alice" {
				t.Errorf("Jupyter got %s: %s", name, value)
			}
		}
	}
}

func TestSecretsOfTheAccessControlAreOnlyInSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inline := strings.Replace(w.oidc("{users: [alice]}")[0], "{secretKeyRef: {name: client, key: secret}}", "{value: "+os.Getenv("E2E_CLIENT_SECRET")+"}", 1)
	w.apply("alice", inline)
	server := w.running("alice")
	w.enter(server, "alice")
	secret := &corev1.Secret{}
	w.get("alice-jupyter", secret)
	seen := map[string]string{
		"the release records": w.releaseRecords(),
		"helm get all":        w.helm("get", "all", "alice"),
		"helm get values":     w.helm("get", "values", "--all", "alice"),
		"the pod's logs":      w.kubectl("logs", "alice-0", "--all-containers"),
		"the operator's log":  w.kubectl("logs", "-n", operatorNamespace, "deployment/"+operatorDeployment, "--tail=-1"),
		"the status":          w.kubectl("get", "jupyterserver", "alice", "-o", "jsonpath={.status}"),
	}
	for _, kind := range []string{"statefulsets", "controllerrevisions", "pods", "services", "ingresses", "networkpolicies", "configmaps", "events"} {
		seen[kind] = w.kubectl("get", kind, "-o", "yaml", "--show-managed-fields")
	}
	for _, key := range []string{"cookie-secret", "client-secret"} {
		value := string(secret.Data[key])
		if len(value) < 16 {
			t.Fatalf("the key %s has %d characters", key, len(value))
		}
		for where, text := range seen {
			if strings.Contains(text, value) || strings.Contains(text, base64.StdEncoding.EncodeToString(secret.Data[key])) {
				t.Errorf("%s is in %s", key, where)
			}
		}
	}
	if env := w.kubectl("exec", "alice-0", "-c", "jupyter", "--", "sh", "-c", "env; ls -R /etc/access* /etc/authentication* /run/access 2>/dev/null; true"); strings.Contains(env, "secret") {
		t.Errorf("Jupyter's container sees secrets:\n%s", env)
	}
}

// The requests of JupyterLab without a browser; see oidc_browser_test.go for one.
func TestLongAndLargeRequestsPassTheProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", w.oidc("{users: [alice]}", `storage: {size: 1Gi}`, `jupyterServer: {resources: {limits: {memory: 2Gi}}}`)...)
	server := w.running("alice")
	_, client := w.enter(server, "alice")

	t.Run("a cell without output for five minutes", func(t *testing.T) {
		t.Parallel()
		w := &world{t, t.Context(), w.namespace}
		if got := w.cellWithin(client, 7*time.Minute, "import time; time.sleep(300); 6*7").Result; got != "42" {
			t.Errorf("6*7 is %q, want 42", got)
		}
	})
	t.Run("an upload of 100 MB", func(t *testing.T) {
		t.Parallel()
		w := &world{t, t.Context(), w.namespace}
		const size = 100 << 20
		if err := client.Upload(t.Context(), "large.bin", size); err != nil {
			t.Fatal(err)
		}
		if got := w.cell(client, "import os; os.path.getsize('/home/jovyan/work/large.bin')").Result; got != strconv.Itoa(size) {
			t.Errorf("the file has %s bytes, want %d", got, size)
		}
	})
	t.Run("a terminal", func(t *testing.T) {
		t.Parallel()
		out, err := client.Terminal(t.Context(), "echo $((6*7))-done", "42-done")
		if err != nil {
			t.Errorf("%v; output %q", err, out)
		}
	})
}

func TestPathsAndTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason, routing, path string
	}{
		{"at the root of the host", "/", "/"},
		{"two levels below the root", "/team.a/~alice", "/team.a/~alice/"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply("alice", w.oidc("{users: [alice]}", fmt.Sprintf("routing: {path: %q}", test.routing))...)
			server := w.running("alice")
			if !strings.HasSuffix(server.Status.URL, ":8000"+test.path) {
				t.Errorf("the URL is %s, want the path %s", server.Status.URL, test.path)
			}
			_, client := w.enter(server, "alice")
			if got := w.cell(client, "6*7").Result; got != "42" {
				t.Errorf("6*7 is %q, want 42", got)
			}
			w.checkDenied(server, w.visitor(), "an anonymous client", http.StatusFound, http.StatusUnauthorized)
		})
	}
	t.Run("with TLS", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.apply("alice", w.oidc("{users: [alice]}", "routing: {tls: {enabled: true}}")...)
		server := w.running("alice")
		if !strings.HasPrefix(server.Status.URL, "https://") {
			t.Fatalf("the URL is %s", server.Status.URL)
		}
		agent, client := w.enter(server, "alice")
		if got := w.cell(client, "6*7").Result; got != "42" {
			t.Errorf("6*7 is %q, want 42", got)
		}
		for _, cookie := range agent.HTTP.Jar.Cookies(mustParse(t, server.Status.URL)) {
			if strings.Contains(cookie.Name, "js-") && !strings.HasPrefix(cookie.Name, "__Secure-") {
				t.Errorf("the session is in the cookie %s, which a page without TLS can set", cookie.Name)
			}
		}
	})
}
