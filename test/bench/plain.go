// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/rest"
)

// recording holds the operator's writes for the sample server.
type recording struct {
	apply, update []*write
	// sample is the UID of the sample server.
	sample string
}

// plainClient repeats the writes of a recording for other servers.
type plainClient struct {
	recording     recording
	host          string
	http          *http.Client
	layout        layout
	substitutions []*substitutions // by the number of the server
}

func newPlainClient(config *rest.Config, r recording, l layout, n int) (*plainClient, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &plainClient{recording: r, host: config.Host, http: client, layout: l, substitutions: make([]*substitutions, n+1)}, nil
}

// install makes the writes of the first release.
func (c *plainClient) install(ctx context.Context, i int, uid string) error {
	t := newSubstitutions(c.layout, i)
	t.add(c.recording.sample, uid)
	c.substitutions[i] = t
	return c.repeat(ctx, c.recording.apply, t)
}

// upgrade makes the writes of the second release.
func (c *plainClient) upgrade(ctx context.Context, i int) error {
	return c.repeat(ctx, c.recording.update, c.substitutions[i])
}

func (c *plainClient) repeat(ctx context.Context, writes []*write, t *substitutions) error {
	for _, w := range writes {
		uid, err := c.send(ctx, w, t)
		if err != nil {
			return err
		}
		t.add(w.UID, uid)
	}
	return nil
}

func (c *plainClient) send(ctx context.Context, w *write, t *substitutions) (uid string, err error) {
	path := string(t.replace([]byte(w.Path)))
	request, err := http.NewRequestWithContext(ctx, w.Method, c.host+path, bytes.NewReader(t.replace(w.Body)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", w.ContentType)
	request.Header.Set("Accept", w.Accept)
	response, err := c.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("repeating a write of the operator: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("repeating a write of the operator: %w", err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("repeating a write of the operator: %s %s: %s: %s", w.Method, path, response.Status, body)
	}
	return uidOf(response.Header.Get("Content-Type"), body)
}

// substitutions map strings of the sample server to those of another one. Both have the same length, because some bodies are
// protocol buffers with length-prefixed strings. A Helm release record stays that of the sample, because it is compressed.
type substitutions struct {
	pairs [][2][]byte
}

func newSubstitutions(l layout, i int) *substitutions {
	t := &substitutions{}
	t.add(name(0), name(i))
	t.add(l.namespace(0), l.namespace(i))
	return t
}

func (t *substitutions) add(sample, substitute string) {
	if sample == "" {
		return
	}
	for _, pair := range t.pairs {
		if string(pair[0]) == sample {
			return
		}
	}
	t.pairs = append(t.pairs, [2][]byte{[]byte(sample), []byte(substitute)})
}

func (t *substitutions) replace(text []byte) []byte {
	for _, pair := range t.pairs {
		text = bytes.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// list returns the writes of the plain client in terms of the API server's metrics.
func (r recording) list() plainWrites {
	return plainWrites{Apply: callsOf(r.apply), Update: callsOf(r.update)}
}

func callsOf(writes []*write) []string {
	var out []string
	for _, w := range writes {
		out = append(out, w.call().String())
	}
	return out
}

// objects returns the number of objects that the first release creates, with the server's Secret but without the release record.
func (r recording) objects() int {
	n := 0
	for _, w := range r.apply {
		if w.call().verb == "APPLY" || w.call().verb == "POST" && !strings.Contains(string(w.Body), "helm.sh/release") {
			n++
		}
	}
	return n
}
