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

// write is a request of the operator that changed an object of the sample server.
type write struct {
	Method      string
	Path        string // including the query
	ContentType string
	Accept      string
	Body        []byte
	// UID is that of the object in the response.
	UID string
	// done is set once the API server has applied it.
	done bool
}

// call returns the write in terms of the API server's metrics.
func (w *write) call() call {
	path, err := url.Parse(w.Path)
	if err != nil {
		return call{verb: w.Method, resource: w.Path}
	}
	made, _ := callOfRequest(&http.Request{Method: w.Method, URL: path, Header: http.Header{"Content-Type": {w.ContentType}}})
	return made
}

// recorder is a proxy in front of the API server that records the writes in the sample's namespace.
type recorder struct {
	server    *http.Server
	address   string
	namespace string

	inFlight sync.RWMutex // read-locked by requests in flight
	mu       sync.Mutex
	writes   []*write
}

func startRecorder(ctx context.Context, config *rest.Config, namespace string) (*recorder, error) {
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{address: "http://" + listener.Addr().String(), namespace: namespace}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Header.Del("Accept-Encoding") // the transport negotiates compression
		},
		Transport:      transport,
		FlushInterval:  -1, // for watches
		ModifyResponse: r.answered,
	}
	r.server = &http.Server{Handler: r.wrap(proxy), ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(listener) }() // ends with stop
	return r, nil
}

func (r *recorder) stop() { _ = r.server.Close() }

type writeKey struct{}

func (r *recorder) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !r.match(request) {
			next.ServeHTTP(w, request)
			return
		}
		r.inFlight.RLock()
		defer r.inFlight.RUnlock()
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

// match reports whether a request is part of a release: events and dry runs are not.
func (r *recorder) match(request *http.Request) bool {
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

// withoutVersion returns the body of a PUT without the resource version, which differs for another server's object.
func withoutVersion(w *write) ([]byte, error) {
	codec := clientgoscheme.Codecs
	info, ok := runtime.SerializerInfoForMediaType(codec.SupportedMediaTypes(), w.ContentType)
	if w.Method != http.MethodPut || !ok {
		return w.Body, nil
	}
	object, kind, err := codec.UniversalDeserializer().Decode(w.Body, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decoding a write: %w", err)
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, fmt.Errorf("decoding a write: %w", err)
	}
	accessor.SetResourceVersion("")
	body, err := runtime.Encode(codec.EncoderForVersion(info.Serializer, kind.GroupVersion()), object)
	if err != nil {
		return nil, fmt.Errorf("encoding a write without its version: %w", err)
	}
	return body, nil
}

// take returns and clears the writes so far, in a form that can be repeated. It waits for requests in flight, because the driver may
// see a write before the operator has its response.
func (r *recorder) take() ([]*write, error) {
	r.inFlight.Lock()
	defer r.inFlight.Unlock()
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

// uidOf returns the UID of the object in a response of the API server, or "" if there is none.
func uidOf(contentType string, body []byte) (string, error) {
	if strings.HasPrefix(contentType, "application/json") {
		var object struct {
			Metadata struct{ UID string }
		}
		if err := json.Unmarshal(body, &object); err != nil {
			return "", fmt.Errorf("decoding a response: %w", err)
		}
		return object.Metadata.UID, nil
	}
	object, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return "", fmt.Errorf("decoding a response: %w", err)
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return "", nil //nolint:nilerr // a Status has no UID
	}
	return string(accessor.GetUID()), nil
}
