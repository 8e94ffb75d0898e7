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
)

// TestBadWatches has an operator that hears of changes late, of some not at all until it asks again, and whose watches break all
// the time. What it does comes to the same end, and it does not write more than it would otherwise, but for a few tries.
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
		come(t, traffic, i, subjects)
		for _, s := range subjects {
			// What is late is no reason to write something twice. A write that conflicts with what was not seen yet is one.
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

// badWatches spoils watches: an event comes up to maxDelay late, and every few events the watch ends. The events before the end
// are lost then. Half of the time the client may go on where it was, half of the time it has to list everything again, and may never
// hear that an object was there and is gone.
type badWatches struct {
	mu                    sync.Mutex
	cut, dropped, expired int
}

const (
	maxDelay    = 700 * time.Millisecond
	eventsToCut = 30 // events that a watch lives for, on average
)

func (b *badWatches) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("watch") == "" {
			return next.RoundTrip(r)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Accept", onlyJSON(r.Header.Get("Accept"))) // one event after the other, without a frame
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

// onlyJSON leaves out the other encodings that a client takes.
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

// pass passes on the events of a watch until its end. An event comes late, and with it those that follow. What is there at the
// start, where a watch begins with that, comes at once and whole.
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

// drop loses an event and all that come in the next moment, and ends the watch.
func (b *badWatches) drop(from io.Closer, events *json.Decoder, to io.Writer) error {
	timer := time.AfterFunc(rand.N(maxDelay), func() { from.Close() })
	defer timer.Stop()
	var event json.RawMessage
	for err := error(nil); err == nil; err = events.Decode(&event) {
		b.count(&b.dropped)
	}
	return b.end(to)
}

// end ends a watch, and perhaps says that there is no going on from where it was.
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
