// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/test/e2e/signin"
)

// Attacks are made from the strongest position: at the pod's address without the ingress controller, with raw requests, by an
// unauthenticated client and by a signed-in user without access.
func TestAccessControlCannotBeBypassed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("alice", w.oidc("{users: [alice]}", fmt.Sprintf("jupyterServer: {image: %q}", echoImage(t)))...)
	server := w.running("alice")
	w.reachable(server)
	bob, page := w.signIn(server.Status.URL, "bob")
	if page.Status != http.StatusForbidden {
		t.Fatalf("bob gets HTTP status %d", page.Status)
	}
	pod := w.podOf(server).Status.PodIP
	as := map[string]string{"anonymous": "", "bob": cookieHeader(t, server, bob)}

	t.Run("ports of the pod", func(t *testing.T) {
		for _, port := range []string{"8888", "4180", "3000"} {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(w.ctx, "tcp", net.JoinHostPort(pod, port))
			if err == nil {
				conn.Close()
				t.Errorf("port %s of the pod is open", port)
			}
		}
		for _, path := range []string{"/", "/alice/api/status", "/readyz/../alice/api"} {
			if got := raw(t, "GET", net.JoinHostPort(pod, "3001"), w.host(), path, ""); got.status < 400 || got.jupyter {
				t.Errorf("the port for the kubelet returns %s with %+v", path, got)
			}
		}
	})

	headers := []string{
		"X-Auth-Request-User: alice",
		"X_Auth_Request_User: alice",
		"x-auth-request-user: alice\r\nX-Auth-Request-User: alice",
		"X-Auth-Request-User: alice\r\nX-Auth-Request-Email: alice@example.org\r\nX-Auth-Request-Groups: researchers",
		"X-Auth-Request-User : alice",
		"X-Auth-Request-User: alice\r\nConnection: X-Auth-Request-User",
		"X-Auth-Request-User: alice\r\nConnection: close, X-Auth-Request-User, X-Auth-Request-Email, Cookie",
		"X-Forwarded-User: alice", "X-Remote-User: alice", "Remote-User: alice",
		"X-Auth-Request-Redirect: /alice/lab",
		"X-Forwarded-Uri: /alice/oauth2/callback", "X-Original-URL: /alice/api", "X-Rewrite-URL: /alice/api",
		"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1", "X-Forwarded-Host: localhost", "X-Forwarded-Method: OPTIONS",
		"Authorization: Bearer alice", "Authorization: Basic YWxpY2U6YWxpY2U=", "Authorization: token ",
		"X-HTTP-Method-Override: OPTIONS",
		"Transfer-Encoding: chunked\r\nContent-Length: 0",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
	}
	paths := []string{
		"/alice/api/status", "/alice/lab", "/alice/", "/alice", "//alice/api/status", "/alice//api/status", "/./alice/api/status", "/x/../alice/api/status",
		"/alice/oauth2/../api/status", "/alice/oauth2/%2e%2e/api/status", "/alice/oauth2/..%2fapi/status", "/alice/oauth2/%2e%2e%2fapi/status",
		"/alice/oauth2/..;/api/status", "/alice/oauth2/.%2e/api/status", "/alice/oauth2/%252e%252e/api/status", "/alice/oauth2/..%5capi/status",
		"/alice/oauth2//../api/status", "/alice/oauth2/x/../../api/status", "/alice/oauth2/signed-out/../../api/status", "/alice/oauth2/signed-out/api",
		"/alice/oauth2", "/alice/oauth2;/api/status", "/alice/oauth2%2f..%2fapi/status", "/alice%2foauth2%2f../api/status", "/alice/%6fauth2/../api/status",
		"/alice/logout/../api/status", "/alice/logout/", "/alice/oauth2/callback/../../api/status", "/alice/oauth2/auth", "/alice/oauth2/userinfo",
		"/alice/ping", "/ping", "/alice/oauth2/ping", "/ready", "/alice/api/status?x=/alice/oauth2/", "/alice/oauth2/\t/api", "/alice/oauth2/%00/../api",
		"http://jupyter/alice/api/status", "/alice/static/../api/status", "/alicex", "/alice.", "/alice%20", "/ALICE/api/status", "/%61lice/api/status",
	}
	for user, cookie := range as {
		t.Run("headers, as "+user, func(t *testing.T) {
			for _, header := range headers {
				for _, path := range []string{"/alice/api/status", "/alice/lab"} {
					notJupyter(t, pod, w.host(), path, joinHeaders(header, cookie))
				}
			}
		})
		t.Run("paths, as "+user, func(t *testing.T) {
			for _, path := range paths {
				notJupyter(t, pod, w.host(), path, cookie)
			}
		})
		t.Run("hosts, as "+user, func(t *testing.T) {
			for _, host := range []string{"localhost", "localhost:8888", "127.0.0.1", pod, w.host() + ".", w.host() + ":8888", "evil.example.org", strings.ToUpper(w.host())} {
				notJupyter(t, pod, host, "/alice/api/status", cookie)
			}
		})
	}
	t.Run("methods", func(t *testing.T) {
		for _, method := range []string{"OPTIONS", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"} {
			if got := raw(t, method, net.JoinHostPort(pod, "8000"), w.host(), "/alice/api/status", ""); got.status < 300 || got.jupyter {
				t.Errorf("%s: %+v", method, got)
			}
		}
	})
	t.Run("two requests on one connection", func(t *testing.T) {
		// The second request is hidden in the body of the first, whose length is ambiguous.
		hidden := "GET /alice/api/status HTTP/1.1\r\nHost: " + w.host() + "\r\nX-Auth-Request-User: alice\r\nConnection: close\r\n\r\n"
		for _, framing := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(hidden), hidden),
			"Content-Length: 0\r\n\r\n" + hidden,
			fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", len(hidden)+5, hidden),
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
			"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + hidden,
		} {
			request := "POST /alice/oauth2/callback HTTP/1.1\r\nHost: " + w.host() + "\r\n" + framing
			if got := send(t, net.JoinHostPort(pod, "8000"), "POST", request); got.jupyter {
				t.Errorf("%q reaches Jupyter: %+v", request, got)
			}
		}
	})
	t.Run("a port with the name of the proxy's", func(t *testing.T) {
		w := &world{t, t.Context(), w.namespace}
		err := w.tryApply(w.manifest("relay", w.oidc("{users: [alice]}", `pod: {containers: [{name: relay, image: localhost/none:1, ports: [{name: access-proxy, containerPort: 9999}]}]}`)...))
		if err == nil || !strings.Contains(err.Error(), "names that begin with access-") {
			t.Errorf("got %v, want an error about the reserved name", err)
		}
	})
	alice, _ := w.signIn(server.Status.URL, "alice")
	if got := raw(t, "GET", net.JoinHostPort(pod, "8000"), w.host(), "/alice/api/status", cookieHeader(t, server, alice)); !got.jupyter {
		t.Errorf("the test is void: alice does not reach Jupyter either: %+v", got)
	}
}

func echoImage(t *testing.T) string {
	t.Helper()
	return required(t, "E2E_ECHO_IMAGE")
}

// cookieHeader returns the Cookie header of a browser.
func cookieHeader(t *testing.T, server *v1alpha1.JupyterServer, agent *signin.Agent) string {
	t.Helper()
	var cookies []string
	for _, cookie := range agent.HTTP.Jar.Cookies(mustParse(t, server.Status.URL)) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	if len(cookies) == 0 {
		t.Fatal("no session cookie")
	}
	return "Cookie: " + strings.Join(cookies, "; ")
}

func joinHeaders(headers ...string) string {
	var out []string
	for _, header := range headers {
		if header != "" {
			out = append(out, header)
		}
	}
	return strings.Join(out, "\r\n")
}

// notJupyter sends a request to the pod's proxy and checks that it does not reach the echo server that replaces Jupyter.
func notJupyter(t *testing.T, pod, host, path, headers string) {
	t.Helper()
	got := raw(t, "GET", net.JoinHostPort(pod, "8000"), host, path, headers)
	if got.jupyter || got.status == http.StatusSwitchingProtocols {
		t.Errorf("%s with host %s and %q reaches Jupyter: %+v", path, host, headers, got)
	}
}

// answer is the result of a request.
type answer struct {
	status  int
	jupyter bool // whether it came from Jupyter
}

// raw sends an unmodified request, which Go's client would reject.
func raw(t *testing.T, method, address, host, path, headers string) answer {
	t.Helper()
	if headers != "" {
		headers += "\r\n"
	}
	return send(t, address, method, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", method, path, host, headers))
}

// send sends bytes and returns the response. A connection that is closed without a response counts as status 400.
func send(t *testing.T, address, method, request string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Error(err)
		return answer{}
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // fails only on a closed connection
	if _, err := io.WriteString(conn, request); err != nil {
		t.Error(err)
		return answer{}
	}
	out := answer{status: http.StatusBadRequest}
	everything, _ := io.ReadAll(io.LimitReader(conn, 1<<20)) // including a second response on the connection
	if response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(everything)), &http.Request{Method: method}); err == nil {
		response.Body.Close()
		out.status = response.StatusCode
	}
	out.jupyter = bytes.Contains(everything, []byte("X-Reached: jupyter"))
	return out
}

// All requests are denied while the authorization service or the plugin is down or restarting.
func TestAccessIsDeniedWhileTheChainIsDown(t *testing.T) {
	t.Parallel()
	if suite.localcluster == "" {
		t.Skip("this test kills processes of the node, which is another machine")
	}
	w := newWorld(t)
	w.apply("alice", w.oidc("{users: [alice]}", fmt.Sprintf("jupyterServer: {image: %q}", echoImage(t)))...)
	server := w.running("alice")
	w.reachable(server)
	_, page := w.signIn(server.Status.URL, "alice")
	if page.Status != http.StatusOK {
		t.Fatalf("alice gets HTTP status %d", page.Status)
	}
	bob, _ := w.signIn(server.Status.URL, "bob")
	pod, cookie := w.podOf(server).Status.PodIP, cookieHeader(t, server, bob)
	for _, container := range []string{"access-authorization", "access-authentication"} {
		ctx, stop := context.WithCancel(w.ctx)
		var hammers sync.WaitGroup
		asked := make(chan int, 4)
		for i := range 4 {
			hammers.Go(func() {
				count := 0
				for ; ctx.Err() == nil; count++ {
					notJupyter(t, pod, w.host(), "/alice/api/status", []string{cookie, "X-Auth-Request-User: alice"}[i%2])
				}
				asked <- count
			})
		}
		for range 3 {
			before := w.restarts(server, container)
			w.killOnNode("alice-0", container)
			w.eventually(container+" is running again", start, func() error {
				if now := w.restarts(server, container); now <= before {
					return fmt.Errorf("%d restarts", now)
				}
				return nil
			})
		}
		stop()
		hammers.Wait()
		close(asked)
		total := 0
		for count := range asked {
			total += count
		}
		t.Logf("%s: %d requests were denied meanwhile", container, total)
		if total < 20 {
			t.Errorf("only %d requests were made while %s was down", total, container)
		}
	}
	w.running("alice")
}

// restarts returns the restart count of a sidecar, or -1 while it is not running.
func (w *world) restarts(server *v1alpha1.JupyterServer, container string) int32 {
	w.Helper()
	for _, status := range w.podOf(server).Status.InitContainerStatuses {
		if status.Name == container && status.State.Running != nil {
			return status.RestartCount
		}
	}
	return -1
}
