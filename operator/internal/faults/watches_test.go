// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jupyterserver/jupyter-server-operator/operator/apiservertest"
)

// TestBadWatches runs an operator whose watches break often, and deliver events late or not at all. It must reach the same state as
// any other, with few additional writes.
func TestBadWatches(t *testing.T) {
	const servers = 5
	good := newTraffic()
	quiet := start(t, good.over)
	var courses []course
	for _, life := range lives() {
		courses = append(courses, undisturbed(t, good, life))
	}
	quiet.stop()

	traffic, watches := newTraffic(), &badWatches{}
	start(t, func(next http.RoundTripper) http.RoundTripper { return traffic.over(watches.over(next)) })
	var subjects []*subject
	for i, life := range lives() {
		for range servers {
			subjects = append(subjects, &subject{life: life, course: courses[i], namespace: newNamespace(t)})
		}
	}
	for i, step := range subjects[0].life.steps {
		subjects = slices.DeleteFunc(subjects, func(s *subject) bool { return i >= len(s.life.steps) })
		before := map[*subject]int{}
		for _, s := range subjects {
			before[s] = len(traffic.writesOf(s.namespace))
		}
		each(t, subjects, func(s *subject) error { return s.life.steps[i].do(t.Context(), s.namespace) })
		converge(t, traffic, i, subjects)
		for _, s := range subjects {
			// A late event is no reason to write an object twice. A conflict with a write that was not observed yet is one.
			writes := traffic.writesOf(s.namespace)[before[s]:]
			if bound := 2*s.course.writes[i] + 4; len(writes) > bound {
				t.Errorf("%s: %v: %d writes, want %d at most: %v", step.name, s, len(writes), bound, writes)
			}
		}
	}
	if watches.cut == 0 || watches.dropped == 0 || watches.expired == 0 {
		t.Errorf("%d watches were cut, %d events dropped, %d watches expired: want some of each", watches.cut, watches.dropped, watches.expired)
	}
}

// badWatches breaks watches: an event is up to maxDelay late, and every few events the watch ends. The last events before the end are
// lost. In half of the cases the client may resume the watch; otherwise it has to list everything again, and may never observe that an
// object was created and deleted.
type badWatches struct {
	mu                    sync.Mutex
	cut, dropped, expired int
}

const (
	maxDelay    = 700 * time.Millisecond
	eventsToCut = 30 // the average number of events of a watch
)

func (b *badWatches) over(next http.RoundTripper) http.RoundTripper {
	return apiservertest.RoundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("watch") == "" {
			return next.RoundTrip(r)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Accept", onlyJSON(r.Header.Get("Accept"))) // a stream of events without frames
		response, err := next.RoundTrip(r)
		if err != nil || response.StatusCode != http.StatusOK {
			return response, err
		}
		reader, writer := io.Pipe()
		good := response.Body
		response.Body = reader
		lists := r.URL.Query().Get("sendInitialEvents") == "true"
		go func() {
			defer good.Close()
			writer.CloseWithError(b.pass(good, writer, lists))
		}()
		return response, nil
	})
}

// onlyJSON removes the other encodings from an Accept header.
func onlyJSON(accept string) string {
	var out []string
	for one := range strings.SplitSeq(accept, ",") {
		if strings.HasPrefix(strings.TrimSpace(one), "application/json") {
			out = append(out, one)
		}
	}
	if len(out) == 0 {
		return "application/json"
	}
	return strings.Join(out, ",")
}

// pass forwards the events of a watch until its end. A late event delays those that follow. The initial events of a watch that lists
// are neither late nor lost.
func (b *badWatches) pass(from io.ReadCloser, to io.Writer, lists bool) error {
	events := json.NewDecoder(from)
	for {
		var event json.RawMessage
		if err := events.Decode(&event); err != nil {
			return err
		}
		if !lists && rand.N(eventsToCut) == 0 {
			return b.drop(from, events, to)
		}
		if !lists && rand.N(4) == 0 {
			time.Sleep(rand.N(maxDelay))
		}
		if _, err := to.Write(append(event, '\n')); err != nil {
			return err
		}
		lists = lists && !bytes.Contains(event, []byte(`"k8s.io/initial-events-end"`))
	}
}

// drop drops an event and those of the next moment, and ends the watch.
func (b *badWatches) drop(from io.Closer, events *json.Decoder, to io.Writer) error {
	timer := time.AfterFunc(rand.N(maxDelay), func() { from.Close() })
	defer timer.Stop()
	var event json.RawMessage
	for err := error(nil); err == nil; err = events.Decode(&event) {
		b.count(&b.dropped)
	}
	return b.end(to)
}

// end ends a watch, in half of the cases with an error that it cannot be resumed.
func (b *badWatches) end(to io.Writer) error {
	b.count(&b.cut)
	if rand.N(2) == 0 {
		return io.EOF
	}
	b.count(&b.expired)
	_, err := fmt.Fprintln(to, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},`+
		`"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}`)
	return errors.Join(err, io.EOF)
}

func (b *badWatches) count(what *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*what++
}
