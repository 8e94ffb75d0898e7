// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package jupyter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/uuid"
)

// StartKernel starts a kernel of the server's default kind and returns its ID.
func (c *Client) StartKernel(ctx context.Context) (string, error) {
	var kernel struct{ ID string }
	if err := c.do(ctx, http.MethodPost, "api/kernels", struct{}{}, &kernel); err != nil {
		return "", err
	}
	if kernel.ID == "" {
		return "", errors.New("POST api/kernels: the response has no kernel ID")
	}
	return kernel.ID, nil
}

// Terminal opens a terminal, types a command, and reads until the output contains a text. It returns the output.
func (c *Client) Terminal(ctx context.Context, command, until string) (string, error) {
	var terminal struct{ Name string }
	if err := c.do(ctx, http.MethodPost, "api/terminals", nil, &terminal); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := c.dial(ctx, "terminals/websocket/"+terminal.Name)
	if err != nil {
		return "", err
	}
	defer conn.CloseNow()
	if err := wsjson.Write(ctx, conn, []any{"stdin", command + "\r"}); err != nil {
		return "", fmt.Errorf("typing into the terminal: %w", err)
	}
	var shown strings.Builder
	for !strings.Contains(shown.String(), until) {
		var message []any // ["stdout", "..."] (terminado/websocket.py)
		if err := wsjson.Read(ctx, conn, &message); err != nil {
			return shown.String(), fmt.Errorf("reading the terminal: %w", err)
		}
		if text, ok := message[len(message)-1].(string); ok && message[0] == "stdout" {
			shown.WriteString(text)
		}
	}
	return shown.String(), c.do(ctx, http.MethodDelete, "api/terminals/"+terminal.Name, nil, nil)
}

// DeleteKernel stops a kernel.
func (c *Client) DeleteKernel(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "api/kernels/"+id, nil, nil)
}

// Output is the output of a cell.
type Output struct {
	// Stream is the printed output.
	Stream string
	// Result is the value of its last expression as text, if any.
	Result string
}

// ExecutionError is an exception of the executed code.
type ExecutionError struct{ Name, Value string }

func (e *ExecutionError) Error() string {
	return fmt.Sprintf("the cell failed: %s: %s", e.Name, e.Value)
}

// Execute runs code in a kernel over the WebSocket and waits for its end.
func (c *Client) Execute(ctx context.Context, kernel, code string) (Output, error) {
	session := uuid.NewString()
	conn, err := c.dialKernel(ctx, kernel, session)
	if err != nil {
		return Output{}, err
	}
	defer conn.CloseNow()
	request := executeRequest(session, code)
	if err := wsjson.Write(ctx, conn, request); err != nil {
		return Output{}, fmt.Errorf("sending the cell to the kernel: %w", err)
	}
	out, err := collect(ctx, conn, request.Header.ID)
	if err != nil {
		return out, err
	}
	return out, conn.Close(websocket.StatusNormalClosure, "")
}

func (c *Client) dialKernel(ctx context.Context, kernel, session string) (*websocket.Conn, error) {
	return c.dial(ctx, "api/kernels/"+kernel+"/channels?session_id="+url.QueryEscape(session))
}

// dial opens a WebSocket below the server's URL.
func (c *Client) dial(ctx context.Context, path string) (*websocket.Conn, error) {
	target, err := c.base.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("WebSocket %s: %w", path, err)
	}
	conn, response, err := websocket.Dial(ctx, target.String(), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.header()})
	if err != nil && response != nil && response.StatusCode != http.StatusSwitchingProtocols {
		raw, _ := io.ReadAll(response.Body) // the library limits it to a kilobyte
		return nil, &StatusError{Method: "WEBSOCKET", Path: target.Path, Code: response.StatusCode, Body: start(raw)}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the WebSocket %s: %w", target.Path, err)
	}
	conn.SetReadLimit(32 << 20)
	return conn, nil
}

// message is a message of the Jupyter messaging protocol 5 on a WebSocket without subprotocol: in JSON, with the channel as a
// field (jupyter_server/services/kernels/connection/channels.py).
type message struct {
	Channel  string          `json:"channel"`
	Header   header          `json:"header"`
	Parent   header          `json:"parent_header"`
	Metadata struct{}        `json:"metadata"`
	Content  json.RawMessage `json:"content"`
	Buffers  []string        `json:"buffers"`
}

type header struct {
	ID       string `json:"msg_id,omitempty"`
	Type     string `json:"msg_type,omitempty"`
	Session  string `json:"session,omitempty"`
	Username string `json:"username,omitempty"`
	Version  string `json:"version,omitempty"`
}

func executeRequest(session, code string) message {
	content, err := json.Marshal(map[string]any{
		"code": code, "silent": false, "store_history": true, "user_expressions": map[string]any{}, "allow_stdin": false, "stop_on_error": true,
	})
	if err != nil {
		panic(err) // strings and booleans can always be encoded
	}
	return message{
		Channel: "shell",
		Header:  header{ID: uuid.NewString(), Type: "execute_request", Session: session, Username: "e2e", Version: "5.3"},
		Content: content,
		Buffers: []string{},
	}
}

// collect reads until the kernel has replied and is idle again: output and reply use different channels, so their order is not
// defined.
func collect(ctx context.Context, conn *websocket.Conn, request string) (Output, error) {
	var (
		out           Output
		stream        strings.Builder
		failure       error
		replied, idle bool
	)
	for !replied || !idle {
		var m message
		if err := wsjson.Read(ctx, conn, &m); err != nil {
			out.Stream = stream.String()
			return out, fmt.Errorf("waiting for the kernel (replied: %t, idle: %t, printed so far: %q): %w", replied, idle, out.Stream, err)
		}
		if m.Parent.ID != request {
			continue
		}
		var content struct {
			Text   string         `json:"text"`
			Data   map[string]any `json:"data"`
			State  string         `json:"execution_state"`
			Status string         `json:"status"`
			Name   string         `json:"ename"`
			Value  string         `json:"evalue"`
		}
		if err := json.Unmarshal(m.Content, &content); err != nil {
			return out, fmt.Errorf("message %s of the kernel: %w", m.Header.Type, err)
		}
		switch m.Header.Type {
		case "stream":
			stream.WriteString(content.Text)
		case "execute_result":
			out.Result, _ = content.Data["text/plain"].(string)
		case "status":
			idle = idle || content.State == "idle"
		case "execute_reply":
			replied = true
			if content.Status != "ok" {
				failure = &ExecutionError{Name: content.Name, Value: content.Value}
			}
		}
	}
	out.Stream = stream.String()
	return out, failure
}
