// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// write is an audit event of a write of an operator.
type write struct {
	User struct {
		Username string
	}
	Verb      string
	ObjectRef struct {
		Resource, Namespace, Name, Subresource string
	}
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp time.Time
	StageTimestamp           time.Time // time of the response
}

func (w write) String() string {
	o := w.ObjectRef
	return strings.Join([]string{w.StageTimestamp.Format(time.TimeOnly + ".000"), w.User.Username, w.Verb, o.Resource, o.Namespace, o.Name, o.Subresource}, " ")
}

// auditLog is the API server's log of all writes of all operators. It is complete, because the API server logs before it responds.
type auditLog struct {
	path string

	mu     sync.Mutex
	read   int64
	writes []write
}

// of returns the matching writes to a namespace so far, without events, whose order is not deterministic.
func (l *auditLog) of(t *testing.T, namespace string, wanted func(write) bool) []write {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.update(); err != nil {
		t.Fatalf("reading the audit log: %v", err)
	}
	var out []write
	for _, w := range l.writes {
		if w.ObjectRef.Namespace == namespace && w.ObjectRef.Resource != "events" && wanted(w) {
			out = append(out, w)
		}
	}
	return out
}

// update reads new lines. An incomplete line is left for the next call.
func (l *auditLog) update() error {
	file, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(l.read, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l.read += int64(len(line))
		var w write
		if err := json.Unmarshal(line, &w); err != nil {
			return err
		}
		l.writes = append(l.writes, w)
	}
}

// toServers selects writes to anything but leases.
func toServers(w write) bool { return w.ObjectRef.Resource != "leases" }

// toObjects selects writes to objects of servers.
func toObjects(w write) bool { return toServers(w) && w.ObjectRef.Subresource != "status" }

// by selects the writes of one operator.
func by(o *operator, wanted func(write) bool) func(write) bool {
	return func(w write) bool { return w.User.Username == o.user && wanted(w) }
}

// concerns reports whether an object name is that of a server, its Secret, an object of its release or a release record.
func concerns(name, server string) bool {
	return name == server || strings.HasPrefix(name, server+"-") || strings.HasPrefix(name, "sh.helm.release.v1."+server+".v")
}
