// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// write is a request of the operator that changed something, for the sample server.
type write struct {
	Method      string
	Path        string // with the query
	ContentType string
	Accept      string
	Body        []byte
	// UID is that of the object in the answer.
	UID string
	// done says that the API server did it.
	done bool
}

// call is what the API server's metrics will say about the write.
func (w *write) call() call {
	request, err := http.NewRequest(w.Method, w.Path, http.NoBody)
	if err != nil {
		return call{verb: w.Method, resource: w.Path}
	}
	request.Header.Set("Content-Type", w.ContentType)
	made, _ := callOfRequest(request)
	return made
}

// recorder is a proxy in front of the API server that takes down what is written in the sample's namespace.
type recorder struct {
	server    *http.Server
	address   string
	namespace string

	underway sync.RWMutex // read-locked by requests that are not answered yet
	mu       sync.Mutex
	writes   []*write
}

func startRecorder(config *rest.Config, namespace string) (*recorder, error) {
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{address: "http://" + listener.Addr().String(), namespace: namespace}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Header.Del("Accept-Encoding") // the transport asks for what it can unpack
		},
		Transport:      transport,
		FlushInterval:  -1, // watches
		ModifyResponse: r.answered,
	}
	r.server = &http.Server{Handler: r.over(proxy), ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(listener) }() // ends with stop
	return r, nil
}

func (r *recorder) stop() { _ = r.server.Close() }

type writeKey struct{}

func (r *recorder) over(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !r.wanted(request) {
			next.ServeHTTP(w, request)
			return
		}
		r.underway.RLock()
		defer r.underway.RUnlock()
		body, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		made := &write{
			Method: request.Method, Path: request.URL.RequestURI(), Body: body,
			ContentType: request.Header.Get("Content-Type"), Accept: request.Header.Get("Accept"),
		}
		r.mu.Lock()
		r.writes = append(r.writes, made)
		r.mu.Unlock()
		next.ServeHTTP(w, request.WithContext(context.WithValue(request.Context(), writeKey{}, made)))
	})
}

// wanted says that a request is part of a release: events and dry runs are not.
func (r *recorder) wanted(request *http.Request) bool {
	return request.Method != http.MethodGet && request.URL.Query().Get("dryRun") == "" &&
		strings.Contains(request.URL.Path, "/namespaces/"+r.namespace+"/") && !strings.Contains(request.URL.Path, "/events")
}

func (r *recorder) answered(response *http.Response) error {
	made, ok := response.Request.Context().Value(writeKey{}).(*write)
	if !ok {
		return nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	made.done = response.StatusCode < http.StatusMultipleChoices
	made.UID, err = uidOf(response.Header.Get("Content-Type"), body)
	return err
}

// withoutVersion is the body of a PUT without the resource version, which another server's object does not have.
func withoutVersion(w *write) ([]byte, error) {
	codec := clientgoscheme.Codecs
	info, ok := runtime.SerializerInfoForMediaType(codec.SupportedMediaTypes(), w.ContentType)
	if w.Method != http.MethodPut || !ok {
		return w.Body, nil
	}
	object, kind, err := codec.UniversalDeserializer().Decode(w.Body, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reading what was written: %w", err)
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, fmt.Errorf("reading what was written: %w", err)
	}
	accessor.SetResourceVersion("")
	body, err := runtime.Encode(codec.EncoderForVersion(info.Serializer, kind.GroupVersion()), object)
	if err != nil {
		return nil, fmt.Errorf("writing it without its version: %w", err)
	}
	return body, nil
}

// take returns what was written so far, as it can be written again, and forgets it. The driver may have seen a write before the
// operator has its answer.
func (r *recorder) take() ([]*write, error) {
	r.underway.Lock()
	defer r.underway.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.DeleteFunc(r.writes, func(w *write) bool { return !w.done })
	r.writes = nil
	for _, w := range out {
		var err error
		if w.Body, err = withoutVersion(w); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// uidOf is the UID of the object in an answer of the API server, or nothing where it holds none.
func uidOf(contentType string, body []byte) (string, error) {
	if strings.HasPrefix(contentType, "application/json") {
		var object struct {
			Metadata struct{ UID string }
		}
		if err := json.Unmarshal(body, &object); err != nil {
			return "", fmt.Errorf("reading an answer: %w", err)
		}
		return object.Metadata.UID, nil
	}
	object, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return "", fmt.Errorf("reading an answer: %w", err)
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return "", nil //nolint:nilerr // a Status has none
	}
	return string(accessor.GetUID()), nil
}
