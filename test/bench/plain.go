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

// recording is what the operator wrote for the sample server.
type recording struct {
	apply, update []*write
	// sample is the sample's UID.
	sample string
}

// plainClient makes the writes of a recording for other servers.
type plainClient struct {
	recording recording
	host      string
	http      *http.Client
	layout    layout
	twins     []*twins // by the number of the server
}

func newPlainClient(config *rest.Config, r recording, l layout, n int) (*plainClient, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &plainClient{recording: r, host: config.Host, http: client, layout: l, twins: make([]*twins, n+1)}, nil
}

// install makes the writes of a first release.
func (c *plainClient) install(ctx context.Context, i int, uid string) error {
	t := newTwins(c.layout, i)
	t.add(c.recording.sample, uid)
	c.twins[i] = t
	return c.repeat(ctx, c.recording.apply, t)
}

// upgrade makes the writes of a second one.
func (c *plainClient) upgrade(ctx context.Context, i int) error {
	return c.repeat(ctx, c.recording.update, c.twins[i])
}

func (c *plainClient) repeat(ctx context.Context, writes []*write, t *twins) error {
	for _, w := range writes {
		uid, err := c.send(ctx, w, t)
		if err != nil {
			return err
		}
		t.add(w.UID, uid)
	}
	return nil
}

func (c *plainClient) send(ctx context.Context, w *write, t *twins) (uid string, err error) {
	path := string(t.replace([]byte(w.Path)))
	request, err := http.NewRequestWithContext(ctx, w.Method, c.host+path, bytes.NewReader(t.replace(w.Body)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", w.ContentType)
	request.Header.Set("Accept", w.Accept)
	response, err := c.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("writing as the operator did: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("writing as the operator did: %w", err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("writing as the operator did: %s %s: %s: %s", w.Method, path, response.Status, body)
	}
	return uidOf(response.Header.Get("Content-Type"), body)
}

// twins are the strings of the sample server and what stands for them with another one. Both have the same length, because some
// bodies are protocol buffers, which say how long a string is. A record of Helm stays that of the sample: its text is compressed.
type twins struct {
	pairs [][2][]byte
}

func newTwins(l layout, i int) *twins {
	t := &twins{}
	t.add(name(0), name(i))
	t.add(l.namespace(0), l.namespace(i))
	return t
}

func (t *twins) add(sample, twin string) {
	if sample == "" {
		return
	}
	for _, pair := range t.pairs {
		if string(pair[0]) == sample {
			return
		}
	}
	t.pairs = append(t.pairs, [2][]byte{[]byte(sample), []byte(twin)})
}

func (t *twins) replace(text []byte) []byte {
	for _, pair := range t.pairs {
		text = bytes.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// list says what the plain client writes, in the words of the API server's metrics.
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

// objects is how many objects a first release makes, with the server's Secret and without the record of the release.
func (r recording) objects() int {
	n := 0
	for _, w := range r.apply {
		if w.call().verb == "APPLY" || w.call().verb == "POST" && !strings.Contains(string(w.Body), "helm.sh/release") {
			n++
		}
	}
	return n
}
