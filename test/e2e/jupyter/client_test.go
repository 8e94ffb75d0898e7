// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package jupyter

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

const secret = "the-token"

// fakeServer implements the part of the protocol that is easy to get wrong: the order of a kernel's messages.
func fakeServer(t *testing.T, replies func(request message) []message) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /alice/api", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the version was requested with a token")
		}
		_, _ = w.Write([]byte(`{"version": "2.15.0"}`))
	})
	mux.HandleFunc("GET /alice/api/kernels/k/channels", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		var request message
		if err := wsjson.Read(r.Context(), conn, &request); err != nil {
			t.Error(err)
			return
		}
		for _, reply := range replies(request) {
			if err := wsjson.Write(r.Context(), conn, reply); err != nil {
				t.Error(err)
				return
			}
		}
		_, _, _ = conn.Read(r.Context()) // until the client closes
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.String(), secret) {
			t.Errorf("the token is in the URL %s", r.URL)
		}
		if r.URL.Path != "/alice/api" && r.Header.Get("Authorization") != "token "+secret {
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	client, err := New(server.URL+"/alice", secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func reply(request message, kind string, content any) message {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err) // the contents of the tests can be encoded
	}
	return message{Header: header{ID: kind, Type: kind}, Parent: request.Header, Content: raw, Buffers: []string{}}
}

func TestExecuteCollectsTheMessagesOfTheCell(t *testing.T) {
	client := fakeServer(t, func(request message) []message {
		other := request
		other.Header.ID = "another"
		return []message{
			reply(other, "execute_result", map[string]any{"data": map[string]any{"text/plain": "wrong"}}),
			reply(request, "execute_reply", map[string]any{"status": "ok"}),
			reply(request, "stream", map[string]any{"text": "hello\n", "name": "stdout"}),
			reply(request, "execute_result", map[string]any{"data": map[string]any{"text/plain": "42", "text/html": []string{"42"}}}),
			reply(request, "status", map[string]any{"execution_state": "idle"}),
		}
	})
	out, err := client.Execute(deadline(t), "k", "6*7")
	if err != nil || out != (Output{Stream: "hello\n", Result: "42"}) {
		t.Errorf("got %+v and %v", out, err)
	}
}

func TestExecuteReturnsTheException(t *testing.T) {
	client := fakeServer(t, func(request message) []message {
		return []message{
			reply(request, "status", map[string]any{"execution_state": "idle"}),
			reply(request, "execute_reply", map[string]any{"status": "error", "ename": "ZeroDivisionError", "evalue": "division by zero"}),
		}
	})
	_, err := client.Execute(deadline(t), "k", "1/0")
	var failure *ExecutionError
	if !errors.As(err, &failure) || failure.Name != "ZeroDivisionError" {
		t.Errorf("got %v, want a ZeroDivisionError", err)
	}
}

func TestErrorsContainTheResponse(t *testing.T) {
	client := fakeServer(t, nil)
	if version, err := client.Version(deadline(t)); version != "2.15.0" || err != nil {
		t.Errorf("version %q, %v", version, err)
	}
	client.token = "wrong"
	_, socket := client.Execute(deadline(t), "k", "6*7")
	for _, err := range []error{client.Status(deadline(t)), socket} {
		if Code(err) != http.StatusForbidden || !strings.Contains(err.Error(), "Forbidden") || strings.Contains(err.Error(), "wrong") {
			t.Errorf("got %v, want the status, the first bytes and no token", err)
		}
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
