// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command echo replaces Jupyter in tests of the requests that reach it: it has Jupyter's arguments and responds to every request
// with its path and headers.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	ip, port := "127.0.0.1", "8888"
	for _, arg := range os.Args[1:] {
		if value, found := strings.CutPrefix(arg, "--ServerApp.ip="); found {
			ip = strings.ReplaceAll(value, "*", "")
		}
		if value, found := strings.CutPrefix(arg, "--ServerApp.port="); found {
			port = value
		}
		if value, found := strings.CutPrefix(arg, "--ServerApp.max_body_size="); found {
			if _, err := strconv.Atoi(value); err != nil { // like Jupyter
				fmt.Fprintln(os.Stderr, "error:", err)
				os.Exit(1)
			}
		}
	}
	server := &http.Server{Addr: ip + ":" + port, Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Reached", "jupyter")                                                                                         // for any path and method
	_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.Path, "query": r.URL.RawQuery, "host": r.Host, "header": r.Header}) // fails if the client is gone
}
